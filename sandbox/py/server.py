"""A started Python that forks once per program. The child is as a fresh `python3 f.py` would be.

Speaks the protocol of codecard/sandbox/servers.py on descriptor 3.
"""

import ctypes
import os
import resource
import sys

# what programs of this kind import; a program sees of it only that its imports are quick
import bisect, collections, copy, datetime, decimal, enum, fractions, functools, hashlib, heapq, itertools, json  # noqa: E401, F401, I001
import math, operator, random, re, statistics, string, textwrap, time, traceback, types, typing  # noqa: E401, F401

CONTROL = 3
FILE = "/tmp/work/f.py"
PR_SET_DUMPABLE = 4


def read_line():
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(CONTROL, 1)
        if not byte:
            os._exit(0)
        line += byte
    return line


def serve():
    """Returns in each child, never in the server."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.write(CONTROL, b"ready\n")
    while True:
        cpu = int(read_line().split()[1])
        pid = os.fork()
        if pid == 0:
            for path, target in (("/tmp/.out", 1), ("/tmp/.err", 2)):
                fd = os.open(path, os.O_WRONLY)
                os.dup2(fd, target)
                os.close(fd)
                os.unlink(path)
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
            os.chdir("/tmp/work")
            libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            os.write(CONTROL, b"%d\n" % os.getpid())
            os.close(CONTROL)
            return
        _, status, used = os.wait4(pid, 0)
        os.write(CONTROL, b"%d %f %f %d\n" % (status, used.ru_utime, used.ru_stime, used.ru_maxrss))


def become_main():
    """The namespace of a script about to run, and what it finds in sys."""
    from importlib.machinery import SourceFileLoader

    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=FILE, __builtins__=sys.modules["builtins"], __loader__=SourceFileLoader("__main__", FILE),
        __spec__=None, __package__=None, __cached__=None, __annotations__={},
    )  # fmt: skip
    sys.modules["__main__"] = main
    sys.argv[:] = ["f.py"]
    sys.path[0] = "/tmp/work"
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)  # this file's own frame
    return main.__dict__


def report(kind, error, trace):
    """An uncaught exception as the interpreter shows it, without this file's frame."""
    sys.excepthook(kind, error.with_traceback(trace), trace)


serve()
namespace = become_main()
with open(FILE, "rb") as file:
    source = file.read()
try:
    try:
        code = compile(source, FILE, "exec", dont_inherit=True)
    finally:
        del source, file
    exec(code, namespace)
except SystemExit:
    raise
except BaseException as problem:
    report(type(problem), problem, problem.__traceback__.tb_next)
    sys.exit(130 if isinstance(problem, KeyboardInterrupt) else 1)
