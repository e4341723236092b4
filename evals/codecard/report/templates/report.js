'use strict';
(() => {
  // Everything a model wrote reaches the page as text nodes, never as markup.
  const $ = (id) => document.getElementById(id);
  const index = JSON.parse($('index').textContent);
  const compared = index.sides.length === 2;
  const STEP = 200;
  const SIGNS = { true: '✓', false: '✗', null: '∅' };

  const rows = index.rows.map(([task, problem, chunk, place, sides, change, slowest], order) => ({
    task: index.tasks[task], problem, chunk, place, sides, change, slowest, order,
    key: `${index.tasks[task]}:${problem}`,
  }));

  // ---------------------------------------------------------------- text

  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f]|[\u0080-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;

  /** Control characters by their pictures, invisible and bidirectional ones by code point. */
  function visible(text) {
    return text.replaceAll('\r\n', '\n').replace(HIDDEN, (c) => {
      const code = c.codePointAt(0);
      if (code < 0x20) return String.fromCodePoint(0x2400 + code);
      if (code === 0x7f) return '␡';
      return `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
    });
  }

  function element(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  const words = (verdict) => verdict.replaceAll('_', ' ');
  function seconds(value) {
    if (value === null || value === undefined) return '–';
    return value < 0.1 ? `${(1000 * value).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`;
  }
  const share = (side) => (side.valid ? side.total / side.valid : null);

  /** "12 passed · 6 wrong" for many samples, the verdict for one. */
  function verdictsOf(side) {
    const counts = Object.entries(side.verdicts);
    if (!counts.length) return 'no execution';
    if (counts.length === 1 && counts[0][1] === 1) return words(counts[0][0]);
    return counts.map(([name, count]) => `${count} ${words(name)}`).join(' · ');
  }

  function outcome(side) {
    if (!side.valid) return { text: '∅ void', tone: 'void' };
    if (side.rated || !Number.isInteger(side.total)) return { text: (side.total / side.valid).toFixed(2), tone: '' };
    const extra = side.void ? `, ${side.void} void` : '';
    const tone = side.total === side.valid ? 'good' : side.total === 0 ? 'bad' : '';
    const sign = tone === 'good' ? '✓ ' : tone === 'bad' ? '✗ ' : '';
    return { text: `${sign}${side.total}/${side.valid}${extra}`, tone };
  }

  // ---------------------------------------------------------------- the list

  const text = (value) => (a, b) => value(a).localeCompare(value(b), 'en', { numeric: true });
  const number = (value) => (a, b) => (value(a) ?? -2) - (value(b) ?? -2);
  const cell = (side) => (row) => {
    const { text: shown, tone } = outcome(row.sides[side]);
    return element('td', { class: `num ${tone}` }, shown);
  };
  const verdictCell = (side) => (row) => element('td', { class: 'wide' }, verdictsOf(row.sides[side]));
  const columns = [
    { title: 'Task', order: text((r) => r.task), draw: (r) => element('td', {}, ...r.task.split(/(?<=\/)/).flatMap((part) => [visible(part), element('wbr')])) },
    { title: 'Problem', order: text((r) => r.problem), draw: (r) => element('td', {}, element('a', { href: address(r) }, visible(r.problem))) },
    ...index.sides.map((name, side) => ({
      title: compared ? (side ? 'New' : 'Base') : rows.some((r) => r.sides[0].rated) ? 'Result' : 'Passed', num: true,
      order: number((r) => share(r.sides[side])), draw: cell(side),
    })),
    ...(compared ? [{
      title: 'Change', num: true, order: number((r) => r.change),
      draw: (r) => element('td', { class: `num ${r.change > 0 ? 'good' : r.change < 0 ? 'bad' : ''}` }, change(r.change)),
    }] : []),
    { title: compared ? 'New verdict' : 'Verdict', wide: true, order: text((r) => verdictsOf(r.sides.at(-1))), draw: verdictCell(index.sides.length - 1) },
    { title: 'Slowest', num: true, wide: true, order: number((r) => r.slowest), draw: (r) => element('td', { class: 'num wide' }, seconds(r.slowest)) },
  ];
  let sorted = { column: -1, down: false };
  if (compared) {
    // What turned comes first: lost, gained, void, then the rest.
    const rank = ({ change }) => (change === null ? 2 : change < 0 ? 0 : change > 0 ? 1 : 3);
    rows.sort((a, b) => rank(a) - rank(b) || Math.abs(b.change) - Math.abs(a.change) || a.order - b.order);
    rows.forEach((row, order) => { row.order = order; });
  }
  let found = rows;
  let shown = STEP;

  function change(value) {
    if (value === null) return '∅';
    if (value === 0) return '0';
    return `${value > 0 ? '▲ +' : '▼ −'}${Math.abs(value).toFixed(2)}`;
  }

  const address = (row, sample) => `#p=${encodeURIComponent(row.key)}${sample ? `&s=${sample}` : ''}`;

  const met = [...new Set(rows.flatMap((row) => Object.keys(row.sides[0].verdicts)))].sort();
  const KINDS = compared
    ? { lost: (r) => r.change < 0, gained: (r) => r.change > 0, unchanged: (r) => r.change === 0, void: (r) => r.change === null }
    : Object.fromEntries(met.map((name) => [words(name), (r) => r.sides[0].verdicts[name] > 0]));
  if (!compared) {
    KINDS.void = (r) => r.sides[0].void > 0;
    KINDS['no execution'] = (r) => !Object.keys(r.sides[0].verdicts).length;
  }

  function select() {
    const wanted = $('search').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const task = $('task').value;
    const kind = KINDS[$('kind').value];
    found = rows.filter((row) => {
      const haystack = `${row.task} ${row.problem}`.toLowerCase();
      return (!task || row.task === task) && (!kind || kind(row)) && wanted.every((word) => haystack.includes(word));
    });
    if (sorted.column >= 0) {
      const { order } = columns[sorted.column];
      const sign = sorted.down ? -1 : 1;
      found.sort((a, b) => sign * order(a, b) || a.order - b.order);
    }
    shown = STEP;
    draw();
  }

  function draw() {
    const visibleRows = found.slice(0, shown);
    $('list').tBodies[0].replaceChildren(
      ...visibleRows.map((row) => element('tr', {}, ...columns.map((column) => column.draw(row)))),
    );
    const limit = visibleRows.length < found.length ? `, the first ${visibleRows.length} shown` : '';
    $('count').textContent = `${found.length} of ${rows.length} problems${limit}`;
    $('more').hidden = visibleRows.length >= found.length;
  }

  function head() {
    const cells = columns.map((column, position) => {
      const button = element('button', {
        type: 'button',
        onclick: () => {
          sorted = { column: position, down: sorted.column === position && !sorted.down };
          head();
          select();
          $('list').tHead.rows[0].cells[position].querySelector('button').focus();
        },
      }, column.title);
      const direction = sorted.column === position ? (sorted.down ? 'descending' : 'ascending') : null;
      const style = [column.num ? 'num' : '', column.wide ? 'wide' : ''].join(' ');
      return element('th', { scope: 'col', class: style, 'aria-sort': direction }, button);
    });
    $('list').tHead.rows[0].replaceChildren(...cells);
  }

  // ---------------------------------------------------------------- one problem

  const loaded = new Map();

  async function load(chunk) {
    if (!loaded.has(chunk)) {
      const bytes = Uint8Array.from(atob($(`chunk-${chunk}`).textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
      loaded.set(chunk, JSON.parse(await new Response(stream).text()));
    }
    return loaded.get(chunk);
  }

  function block(title, value, { open = true, numbers = false } = {}) {
    if (!value) return null;
    const shownText = visible(value);
    const count = shownText.split('\n').length;
    const lines = numbers && count < 5000
      ? element('pre', { class: 'lines', 'aria-hidden': 'true' }, Array.from({ length: count }, (_, i) => i + 1).join('\n'))
      : null;
    const box = element('div', { class: 'code', tabindex: '0', role: 'region', 'aria-label': title }, lines, element('pre', {}, shownText));
    if (open) return element('div', {}, element('h3', {}, title), box);
    return element('details', {}, element('summary', {}, element('h3', {}, title)), box);
  }

  function facts(sample, limits) {
    const verdict = sample.verdict ? words(sample.verdict) : 'no execution';
    const rated = sample.rating !== null && sample.passed === null;
    const tone = sample.passed === true ? 'good' : sample.passed === false ? 'bad' : rated ? '' : 'void';
    const tokens = sample.new_tokens === null ? null : `${sample.new_tokens} new${sample.prompt_tokens === null ? '' : `, ${sample.prompt_tokens} in the prompt`}`;
    const memory = sample.peak_memory_bytes ? `${(sample.peak_memory_bytes / 2 ** 20).toFixed(1)} MiB` : null;
    const pairs = [
      ['Verdict', element('strong', { class: tone }, rated ? verdict : `${SIGNS[sample.passed]} ${verdict}`)],
      ['Counts as', rated ? Number(sample.rating).toFixed(2) : sample.passed === true ? 'passed' : sample.passed === false ? 'not passed' : 'void'],
      ['Why void', sample.void || null],
      ['Stage', sample.stage], ['Exit code', sample.exit_code], ['Signal', sample.signal],
      ['CPU', sample.cpu_s === null ? null : seconds(sample.cpu_s)],
      ['Wall', sample.wall_s === null ? null : seconds(sample.wall_s)],
      ['Peak memory', memory], ['Limits', limits || null], ['Attempts', sample.attempts > 1 ? sample.attempts : null],
      ['Ended by', sample.finish_reason], ['Tokens', tokens],
      ['Generation', sample.seconds === null ? null : seconds(sample.seconds)],
      ['Image', sample.image ? sample.image.slice(0, 19) : null],
    ].filter(([, value]) => value !== null && value !== undefined && value !== '');
    return element('dl', { class: 'facts' }, ...pairs.map(([name, value]) => element(
      'div', {}, element('dt', {}, name), element('dd', {}, value instanceof Node ? value : visible(String(value))),
    )));
  }

  function strip(samples, chosen, label, choose) {
    if (samples.length < 2) return null;
    const buttons = samples.map((sample, position) => element('button', {
      type: 'button', 'aria-pressed': String(position === chosen), onclick: () => choose(position),
      'aria-label': `sample ${sample.sample}: ${sample.verdict ? words(sample.verdict) : 'no execution'}`,
    }, `${sample.sample} ${SIGNS[sample.passed]}`));
    return element('div', { class: 'samples', role: 'group', 'aria-label': label }, ...buttons);
  }

  /** Line differences by longest common subsequence; null where the two are too long for it. */
  function difference(before, after) {
    const a = before.split('\n');
    const b = after.split('\n');
    let head = 0;
    while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
    let tail = 0;
    while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
    const left = a.slice(head, a.length - tail);
    const right = b.slice(head, b.length - tail);
    if (left.length * right.length > 4e6) return null;
    const width = right.length + 1;
    const best = new Uint32Array((left.length + 1) * width);
    for (let i = left.length - 1; i >= 0; i -= 1) {
      for (let j = right.length - 1; j >= 0; j -= 1) {
        best[i * width + j] = left[i] === right[j]
          ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      }
    }
    const lines = a.slice(0, head).map((line) => [' ', line]);
    let i = 0;
    let j = 0;
    while (i < left.length || j < right.length) {
      if (i < left.length && j < right.length && left[i] === right[j]) { lines.push([' ', left[i]]); i += 1; j += 1; }
      else if (j >= right.length || (i < left.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) { lines.push(['-', left[i]]); i += 1; }
      else { lines.push(['+', right[j]]); j += 1; }
    }
    return lines.concat(a.slice(a.length - tail).map((line) => [' ', line]));
  }

  function diffBlock(before, after) {
    const title = 'Programs, base to new';
    if (before === after) return element('div', {}, element('h3', {}, title), element('p', { class: 'muted' }, 'The two programs are the same.'));
    const lines = difference(visible(before), visible(after));
    if (!lines) return element('p', { class: 'muted' }, 'The programs are too long to be compared line by line.');
    const near = lines.map((_, at) => lines.slice(Math.max(0, at - 4), at + 5).some(([sign]) => sign !== ' '));
    const nodes = [];
    for (let at = 0; at < lines.length; at += 1) {
      const [sign, line] = lines[at];
      if (near[at]) {
        nodes.push(sign === ' ' ? `  ${line}\n` : element(sign === '+' ? 'ins' : 'del', { class: sign === '+' ? 'add' : 'del' }, `${sign} ${line}`));
      } else {
        let count = 0;
        while (at < lines.length && !near[at]) { count += 1; at += 1; }
        at -= 1;
        nodes.push(element('span', { class: 'fold' }, `  ⋯ ${count} equal ${count === 1 ? 'line' : 'lines'}`));
      }
    }
    return element('div', {}, element('h3', {}, title), element('div', { class: 'code', tabindex: '0', role: 'region', 'aria-label': title }, element('pre', { class: 'diff' }, ...nodes)));
  }

  /** A judged dialogue: each turn's question, and below it the answer beside the judgment. */
  function dialogue(turns) {
    return turns.flatMap(({ turn, question, answer, judgment, rating, void: why }) => [
      block(`Question, turn ${turn}`, question),
      element('div', { class: 'sides dialogue' },
        element('div', {}, block(`Answer, turn ${turn}`, answer) ?? element('p', { class: 'void' }, '∅ no answer')),
        element('div', {},
          element('p', { class: rating === null ? 'void' : '' }, rating === null ? `∅ turn ${turn}: ${visible(why)}` : `Rating of turn ${turn}: ${rating}`),
          block(`Judgment, turn ${turn}`, judgment)),
      ),
    ]);
  }

  function sideBlocks(sample, limits, open) {
    if (sample.turns.length) return [facts(sample, limits), ...dialogue(sample.turns)];
    return [
      facts(sample, limits),
      block('stderr', sample.stderr), block('stdout', sample.stdout),
      block(sample.style === 'chat' ? 'Answer' : 'Completion', sample.text, { open, numbers: true }),
    ];
  }

  let current = null;

  /** Which sample to show first: where a problem turned, the samples that show it. */
  function firstChoice(row, details) {
    if (!compared) return [Math.max(0, details.sides[0].findIndex((s) => s.passed !== true))];
    const wanted = row.change < 0 ? [true, false] : row.change > 0 ? [false, true] : [null, null];
    return details.sides.map((samples, side) => Math.max(0, samples.findIndex((s) => s.passed === wanted[side])));
  }

  async function open(row, sample) {
    current = row;
    const details = (await load(row.chunk))[row.place];
    if (current !== row) return; // another was opened, or all closed, in the meantime
    const chosen = firstChoice(row, details);
    if (sample !== null) {
      details.sides.forEach((samples, side) => {
        const position = samples.findIndex((s) => s.sample === sample);
        if (position >= 0) chosen[side] = position;
      });
    }
    $('detail-title').textContent = `${row.task} ${visible(row.problem)}`;
    show(row, details, chosen);
    const position = found.indexOf(row);
    $('previous').disabled = position <= 0;
    $('next').disabled = position < 0 || position >= found.length - 1;
    if (!$('detail').open) $('detail').showModal();
    $('detail').scrollTop = 0;
    $('detail-title').focus({ preventScroll: true });
  }

  function show(row, details, chosen) {
    const picked = details.sides.map((samples, side) => samples[chosen[side]] ?? null);
    const columnsOf = details.sides.map((samples, side) => {
      const label = compared ? `${side ? 'New' : 'Base'}: ${index.sides[side]}` : 'Samples';
      const choose = (position) => {
        chosen[side] = position;
        show(row, details, chosen);
        $('detail-body').querySelectorAll('.samples')[side]?.querySelector('[aria-pressed="true"]')?.focus();
      };
      const sample = picked[side];
      return element('div', {},
        compared ? element('h3', {}, label) : null,
        strip(samples, chosen[side], label, choose),
        ...(sample ? sideBlocks(sample, details.limits, !compared) : [element('p', { class: 'void' }, '∅ this run has no such problem')]),
      );
    });
    const programs = picked.map((sample) => sample?.program ?? '');
    const both = compared && programs[0] && programs[1];
    $('detail-body').replaceChildren(...[
      both ? null : element('div', { class: 'sides' }, ...columnsOf),
      both ? diffBlock(programs[0], programs[1]) : null,
      both ? element('div', { class: 'sides' }, ...columnsOf) : null,
      picked.some((sample) => sample?.turns.length) ? null : block('Prompt', details.prompt, { open: !compared }),
      ...programs.map((program, side) => block(compared ? `Program, ${side ? 'new' : 'base'}` : 'Program as executed', program, { open: !compared, numbers: true })),
    ].filter(Boolean));
  }

  function step(by) {
    const next = found[found.indexOf(current) + by];
    if (next) location.replace(address(next));
  }

  function route() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const row = wanted.has('p') ? rows.find((r) => r.key === wanted.get('p')) : null;
    if (row) open(row, wanted.has('s') ? Number(wanted.get('s')) : null);
    else if (current) leave();
  }

  // ---------------------------------------------------------------- events

  for (const task of index.tasks) $('task').append(element('option', {}, task));
  for (const name of Object.keys(KINDS)) $('kind').append(element('option', {}, name));
  for (const id of ['task', 'kind']) $(id).addEventListener('change', select);
  $('search').addEventListener('input', select);
  $('more').addEventListener('click', () => {
    const from = shown;
    shown += STEP;
    draw();
    $('list').tBodies[0].rows[from]?.querySelector('a').focus();
  });
  $('previous').addEventListener('click', () => step(-1));
  $('next').addEventListener('click', () => step(1));
  /** Close, and put the focus back on the problem's link. */
  function leave() {
    const link = current && [...$('list').querySelectorAll('tbody a')].find((a) => a.getAttribute('href') === address(current));
    current = null;
    history.replaceState(null, '', location.pathname + location.search);
    if ($('detail').open) $('detail').close();
    (link ?? $('search')).focus();
  }
  $('close').addEventListener('click', leave);
  $('detail').addEventListener('cancel', (event) => { event.preventDefault(); leave(); });
  $('detail').addEventListener('close', () => { if (current) leave(); });
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input, select, textarea');
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (current) {
      if (event.key === 'j') step(1);
      if (event.key === 'k') step(-1);
      return;
    }
    if (event.key === '/' && !typing) { event.preventDefault(); $('search').focus(); return; }
    const down = event.key === 'ArrowDown';
    if (!down && event.key !== 'ArrowUp') return;
    const links = [...$('list').querySelectorAll('tbody a')];
    const at = links.indexOf(document.activeElement);
    if (at < 0 && !(down && document.activeElement === $('search'))) return;
    event.preventDefault();
    (links[at + (down ? 1 : -1)] ?? $('search')).focus();
  });
  window.addEventListener('hashchange', route);
  head();
  select();
  route();
})();
