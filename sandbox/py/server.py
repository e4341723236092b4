"""A started Python that forks once per program. The child is as a fresh `python3 f.py` would be.

Speaks the protocol of codecard/sandbox/inside/servers.py on descriptor 3.
"""

import atexit

# What programs of this kind import, standard library only; a program sees of it only that its imports are quick.
# random seeds itself again in every fork. Not threading: what it does after a fork costs more than its import is worth.
import bisect  # noqa: F401
import collections  # noqa: F401
import copy  # noqa: F401
import ctypes
import functools  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import math  # noqa: F401
import operator  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import resource
import string  # noqa: F401
import sys
import types
import typing  # noqa: F401

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
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", FILE)
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=FILE, __builtins__=sys.modules["builtins"], __loader__=loader,
        __spec__=None, __package__=None, __cached__=None, __annotations__={},
    )  # fmt: skip
    sys.modules["__main__"] = main
    sys.argv[:] = ["f.py"]
    sys.path[0] = "/tmp/work"
    sys.setrecursionlimit(sys.getrecursionlimit() + 2)  # the frames of this file
    return main.__dict__


def run(namespace):
    """Exit status of the program, its uncaught exception shown as the interpreter shows it."""
    try:
        with open(FILE, "rb") as file:
            source = file.read()
        exec(compile(source, FILE, "exec", dont_inherit=True), namespace)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as problem:
        trace = problem.__traceback__.tb_next
        sys.excepthook(type(problem), problem.with_traceback(trace), trace)
        return 130 if isinstance(problem, KeyboardInterrupt) else 1
    return 0


def finish(namespace, status):
    """What the interpreter does at its end, in its order; only the modules are not taken apart one by one, which
    after a fork costs more than all the rest."""
    threads = sys.modules.get("threading")
    if isinstance(threads, types.ModuleType):
        threads._shutdown()
    atexit._run_exitfuncs()
    namespace.clear()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            status = 120
    os._exit(status)


compile("pass", FILE, "exec")  # the first call makes a class for each kind of syntax node
gc.collect()
gc.freeze()  # what is loaded now stays shared between the forks
serve()
namespace = become_main()
finish(namespace, run(namespace))
