// A started node that forks once per program: it is preloaded before /tmp/work/f.js, which each fork goes on to run
// as node's main module, as a fresh `node f.js` would. fork_server.c is the other half.
'use strict';

const { isMainThread } = require('worker_threads'); // a program's workers preload this file, too
if (isMainThread) {
  exercise();
  const program = { exports: {} };
  process.dlopen(program, '/opt/codecard/warm/fork_server.so'); // returns in each child, with its process id
  process.chdir('/tmp/work'); // node remembers the folder: not for the addon to change
  Object.defineProperty(process, 'pid', { ...Object.getOwnPropertyDescriptor(process, 'pid'), value: program.exports });
}
process.execArgv = [];
process._preload_modules.length = 0;
delete require.cache[__filename];

// What programs of this kind do first, so that it is loaded and compiled; a program sees of it only that it is quick.
// Nothing here may touch process.stdout or process.stderr: node keeps what it finds there at the first look.
function exercise() {
  for (const name of [
    'assert', 'async_hooks', 'buffer', 'child_process', 'console', 'crypto', 'events', 'fs', 'fs/promises', 'net', 'os', 'path',
    'perf_hooks', 'readline', 'stream', 'string_decoder', 'timers', 'timers/promises', 'tty', 'url', 'util', 'v8', 'vm',
  ]) require(name);
  withoutStderr(exerciseAssert);
  exerciseConsole();
  exerciseLoader(20);
  collectGarbage();
  exerciseLoader(2); // what was collected and is always needed
}

// All this was young, and the room for the young may be nearly full of it: each child would have to collect it anew.
function collectGarbage() {
  const { setFlagsFromString } = require('v8');
  setFlagsFromString('--expose-gc'); // for contexts made from now on
  const collect = require('vm').runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  collect();
}

function withoutStderr(run) { // an AssertionError asks whether it is a terminal
  const stderr = Object.getOwnPropertyDescriptor(process, 'stderr');
  Object.defineProperty(process, 'stderr', { ...stderr, get: () => ({ isTTY: false }) });
  run();
  Object.defineProperty(process, 'stderr', stderr);
}

function values() {
  return [1, -0.5, 'text', true, null, undefined, [], [1, 2], [[1], ['a']], { a: 1, b: [2] }, new Map([[1, 2]]), new Set([1])];
}

function exerciseAssert() {
  const assert = require('assert');
  const twins = values();
  for (const [i, value] of values().entries()) {
    assert(true);
    assert.equal(i, i);
    assert.strictEqual(i, i);
    assert.deepEqual(value, twins[i]);
    assert.deepStrictEqual(value, twins[i]);
    for (const name of ['equal', 'deepEqual', 'deepStrictEqual']) {
      try {
        assert[name]([value], 7);
      } catch (error) {
        void error.stack;
      }
    }
  }
}

function exerciseConsole() {
  const { Console } = require('console');
  const { Writable } = require('stream');
  const sink = new Writable({ write: (chunk, encoding, done) => done() });
  const console = new Console(sink, sink);
  for (const value of values()) {
    console.log(value, 'and', [value], `${value}`);
    console.log('%s %d %o', value, 1, value);
    console.error(value);
  }
}

function exerciseLoader(times) {
  const fs = require('fs');
  const { runMain } = require('module');
  const program = '/tmp/exercise.js';
  const path = process.argv[1];
  process.argv[1] = program;
  for (let i = 0; i < times; i++) {
    fs.writeFileSync(program, `
      function candidate${i}(values) { return values.map(value => value + ${i}); }
      const assert = require('node:assert');
      function test() { assert.deepEqual(candidate${i}([1, 2]), [${i + 1}, ${i + 2}]); }
      test();`);
    runMain(program);
    delete require.cache[program];
  }
  fs.writeFileSync(program, 'function (');
  for (let i = 0; i < 3; i++) {
    try {
      runMain(program);
    } catch (error) {
      void error.stack;
    }
  }
  process.argv[1] = path;
  delete process.mainModule;
  fs.unlinkSync(program);
  for (let i = 0; i < 3; i++) { // the queues that node empties after a program
    process.nextTick(() => {});
    Promise.resolve().then(() => {});
    process._tickCallback();
  }
  process.emit('beforeExit', 0);
  process.emit('exit', 0);
}
