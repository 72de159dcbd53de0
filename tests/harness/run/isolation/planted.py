"""Files with a right cell, and what a person may write into one that has nothing to do with mathematics."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

RIGHT = """\
import ctypes, os, signal, subprocess, sys, threading, time
import numpy as np

class Right:
    def init(self, rng, D, H):
        return {"W": rng.normal(size=(D + H, H)), "b": rng.normal(size=H)}

    def zero_state(self, params, N):
        return {"h": np.zeros((N, len(params["b"])))}

    def run(self, params, xs, state):
        h, hs = state["h"], []
        for x in xs:
            h = np.tanh(np.concatenate([x, h], axis=1) @ params["W"] + params["b"])
            hs.append(h)
        return np.stack(hs), {"h": h}

    def backward(self, params, xs, state, dys, dfinal):
        hs = [state["h"], *self.run(params, xs, state)[0]]
        D, dh = xs.shape[2], dfinal["h"]
        dW, db, dxs = np.zeros_like(params["W"]), np.zeros_like(params["b"]), np.zeros_like(xs)
        for t in reversed(range(len(xs))):
            da = (dh + dys[t]) * (1 - hs[t + 1] ** 2)
            dW += np.concatenate([xs[t], hs[t]], axis=1).T @ da
            db += da.sum(axis=0)
            dv = da @ params["W"].T
            dxs[t], dh = dv[:, :D], dv[:, D:]
        return {"W": dW, "b": db}, dxs, {"h": dh}

class Wrong(Right):
    def backward(self, params, xs, state, dys, dfinal):
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return {**dparams, "W": 1.1 * dparams["W"]}, dxs, dstate

"""
#: The line that a fault's own first line is.
FIRST_LINE = len(RIGHT.splitlines()) + 3


@dataclass(frozen=True)
class Fault:
    """What is written, and what is to come of it.

    body     of the file behind RIGHT; it defines Cell          exit_code   of the run of it alone
    status   of its check GRD110, None where it has no result   words       in what the record says about it
    seconds  --timeout, where the default would be long to wait for
    """

    body: str
    status: str | None
    exit_code: int
    words: str = ""
    seconds: float | None = None
    memory: str | None = None


def in_backward(code: str) -> str:
    """A cell whose backward first does `code`, and is right otherwise."""
    head = "class Cell(Right):\n    def backward(self, params, xs, state, dys, dfinal):\n"
    last = "\n        return super().backward(params, xs, state, dys, dfinal)\n"
    return head + textwrap.indent(textwrap.dedent(code).strip(), " " * 8) + last


def given(code: str) -> str:
    """A cell whose backward makes `dparams, dxs, dstate` of the right ones by `code`."""
    return in_backward(f"dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)\n{textwrap.dedent(code).strip()}")


def on_import(code: str) -> str:
    """A right cell in a file that does `code` when it is imported; not as a statement of its own, which a script that trains has."""
    return f"if True:\n{textwrap.indent(textwrap.dedent(code).strip(), '    ')}\nclass Cell(Right): pass\n"


_EVERY = "for fd in range(3, 64):\n    try: os.write(fd, {data})\n    except OSError: pass"
_FIVE = "five times as long as of the processor (--timeout)"
_AT = f"cell.py:{FIRST_LINE}"

#: Faults that end the process, or hold it.
ENDS: dict[str, Fault] = {
    "an exit": Fault(
        in_backward("print('the end'); sys.stdout.flush(); os._exit(7)"), "crashed", 1, "exit code 7; its last words: the end"
    ),
    "an exit with 0": Fault(in_backward("os._exit(0)"), "crashed", 1, "exit code 0"),
    "sys.exit": Fault(in_backward("sys.exit('bye')"), "failed", 1, f"SystemExit: bye (at {_AT}"),
    "a segmentation fault": Fault(in_backward("ctypes.string_at(0)"), "crashed", 1, f"SIGSEGV, at {_AT}"),
    "an abort": Fault(in_backward("os.abort()"), "crashed", 1, f"SIGABRT, at {_AT}"),
    "a signal": Fault(in_backward("os.kill(os.getpid(), signal.SIGKILL)"), "crashed", 1, "killed by SIGKILL"),
    "KeyboardInterrupt": Fault(in_backward("raise KeyboardInterrupt"), "crashed", 1, f"KeyboardInterrupt: (no message) (at {_AT}"),
    "a loop": Fault(in_backward("while True: pass"), "timeout", 3, f"--timeout), at {_AT}", 0.5),
    "a loop that hears no signal": Fault(
        in_backward("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: pass"), "timeout", 3, "ended after", 0.5
    ),
    "a loop in C": Fault(in_backward("10 ** (10 ** 8)"), "timeout", 3, "ended after", 0.5),
    "a sleep": Fault(in_backward("time.sleep(1000)"), "timeout", 3, f"2.5 s by the clock, {_FIVE}, at {_AT}", 0.5),
    "children at work": Fault(
        in_backward("[subprocess.Popen([sys.executable, '-c', 'while 1: pass']) for _ in '12'][0].wait()"), "timeout", 3, "ended after", 0.5
    ),
    "more memory than there may be": Fault(
        in_backward("kept = []\nwhile True: kept.append(np.ones(10**6))"), "crashed", 1, "out of memory: more than 700 MiB", None, "700M"
    ),
    "a child with too much memory": Fault(
        in_backward("subprocess.run([sys.executable, '-c', 'a = []\\nwhile 1: a.append(b\"x\" * 10**7)'])"),
        "crashed",
        1,
        "out of memory: more than 700 MiB",
        None,
        "700M",
    ),
    "an array larger than the machine": Fault(in_backward("np.zeros((10**7, 10**7))"), "failed", 1, "MemoryError"),
}

#: Faults that reach for the messages.
REACHES: dict[str, Fault] = {
    "junk on every descriptor": Fault(in_backward(_EVERY.format(data="b'junk ' * 20")), None, 3, "bytes that are no message: b'junk"),
    "half a frame on every descriptor": Fault(
        in_backward(_EVERY.format(data="b'bptt\\0\\0\\0\\x50abc'")), None, 3, "nothing of it from there on"
    ),
    "a message of another process": Fault(
        in_backward(
            "from bptt.harness.run.isolation.frames import Letterhead, framed\n"
            "data = framed(Letterhead('0' * 32, 'cell.py:Cell').sealed(4, {'last': {'done': True}}))\n" + _EVERY.format(data="data")
        ),
        None,
        3,
        "a message that another process wrote",
    ),
    "a fork that comes back": Fault(in_backward("os.fork()"), "passed", 0),
    "a fork that comes back and is waited for": Fault(in_backward("pid = os.fork()\nif pid: os.waitpid(pid, 0)"), "passed", 0),
    "a fork of the C library's": Fault(in_backward("ctypes.CDLL(None).fork()"), "passed", 0),
    "every descriptor closed": Fault(in_backward("os.closerange(3, 256)"), "crashed", 1, "has closed the line to the run"),
    "every descriptor another file": Fault(
        in_backward("if not hasattr(self, 'kept'):\n    os.closerange(3, 64)\n    self.kept = [open(f'{k}.txt', 'w') for k in range(40)]"),
        "crashed",
        1,
        "is another file now",
    ),
    "the standard descriptors closed": Fault(in_backward("os.closerange(0, 3)"), "passed", 0),
    "no standard streams": Fault(in_backward("sys.stdin = sys.stdout = sys.stderr = None"), "passed", 0),
    "prints without end": Fault(in_backward("print('x' * 5000); os.write(1, b'z' * 100)"), "passed", 0),
    "standard input": Fault(in_backward("assert sys.stdin.read() == '' == os.read(0, 9).decode()\ninput()"), "failed", 1, "EOFError"),
    "the process beside it killed": Fault(in_backward("os.kill(os.getppid(), signal.SIGKILL); time.sleep(100)"), "error", 3, "was lost"),
    "a thread that stays": Fault(in_backward("threading.Thread(target=time.sleep, args=(1000,)).start()"), "passed", 0),
    "a daemon that stays": Fault(in_backward("subprocess.Popen(['sleep', '1000'], start_new_session=True)"), "passed", 0),
}

#: Faults where nothing of the cell is called: the form of what it gives, attributes, names, classes of classes.
FORMS: dict[str, Fault] = {
    "an exception that has no text": Fault(
        in_backward("class E(Exception):\n    def __str__(self): raise ValueError\nraise E"), "failed", 1, "its __str__ raises"
    ),
    "an exception of no kind": Fault(in_backward("class E(BaseException): pass\nraise E('no')"), "failed", 1, "raised E: no"),
    "StopIteration": Fault(in_backward("raise StopIteration"), "failed", 1, "StopIteration"),
    "GeneratorExit": Fault(in_backward("raise GeneratorExit"), "failed", 1, "GeneratorExit"),
    "itself for ever": Fault(in_backward("return self.backward(params, xs, state, dys, dfinal)"), "failed", 1, "RecursionError"),
    "a tuple with a length of its own": Fault(
        in_backward("class T(tuple):\n    def __len__(self): raise ValueError\nreturn T((1, 2, 3))"),
        "failed",
        1,
        "its code raised ValueError",
    ),
    "a mapping that raises": Fault(
        given(
            "import collections\nclass M(collections.UserDict):\n    def items(self): raise ValueError('no')\n"
            "return M(dparams), dxs, dstate"
        ),
        "failed",
        1,
        "its items cannot be read: ValueError: no",
    ),
    "arrays of objects": Fault(given("return {k: v.astype(object) for k, v in dparams.items()}, dxs, dstate"), "failed", 1, "dtype object"),
    "arrays of strings": Fault(given("return {k: v.astype(str) for k, v in dparams.items()}, dxs, dstate"), "failed", 1, "dtype <U32"),
    "structured arrays": Fault(
        given("return {k: np.zeros(v.shape, dtype=[('a', 'f8')]) for k, v in dparams.items()}, dxs, dstate"), "failed", 1, "wanted numbers"
    ),
    "a view that is larger than the machine": Fault(
        given("return {k: np.broadcast_to(0.0, (10**7, 10**7)) for k in dparams}, dxs, dstate"), "failed", 1, "more than fits in memory"
    ),
    "the same for the inputs": Fault(
        given("return dparams, np.broadcast_to(0.0, (10**7, 10**7)), dstate"), "failed", 1, "more than fits in memory"
    ),
    "names of another kind of string": Fault(
        given("class S(str):\n    def __str__(self): raise ValueError\nreturn {S(k): v for k, v in dparams.items()}, dxs, dstate"),
        "passed",
        0,
    ),
    "no truth, no equality, no text": Fault(
        "class Cell(Right):\n    def __bool__(self): raise ValueError\n    __eq__ = __repr__ = __str__ = __bool__\n    __hash__ = None\n",
        "passed",
        0,
    ),
    "a published name of another kind of string": Fault(
        "import enum\nclass Like(str, enum.Enum):\n    ELMAN = 'elman'\nclass Cell(Right):\n    like = Like.ELMAN\n", "passed", 0
    ),
}

#: Faults for which there is no subject.
LOADS: dict[str, Fault] = {
    "an exit in the import": Fault(on_import("os._exit(3)"), None, 2, "the process died: exit code 3 while it was being loaded"),
    "sys.exit in the import": Fault(on_import("sys.exit(3)"), None, 2, "SystemExit: 3"),
    "KeyboardInterrupt in the import": Fault("raise KeyboardInterrupt\n", None, 2, "its code raised KeyboardInterrupt"),
    "an exception of no kind in the import": Fault("class E(BaseException): pass\nraise E('no')\n", None, 2, "E: no"),
    "a loop in the import": Fault(on_import("while True: pass"), None, 2, "(--timeout), at cell.py", 0.5),
    "a property that raises": Fault(
        "class Cell(Right):\n    @property\n    def like(self): raise ValueError('no')\n", None, 2, "ValueError: no"
    ),
    "attributes that raise": Fault(
        "class Cell(Right):\n    def __getattr__(self, n): raise ValueError('no ' + n)\n", None, 2, "ValueError: no"
    ),
    "every attribute raises": Fault(
        "class Cell(Right):\n    def __getattribute__(self, n): raise ValueError('no ' + n)\n", None, 2, "ValueError: no"
    ),
    "a class of classes that raises": Fault(
        "class M(type):\n    def __getattribute__(cls, n): raise ValueError('no ' + n)\nclass Cell(Right, metaclass=M): pass\n",
        None,
        2,
        "ValueError: no",
    ),
    "a class of classes that exits": Fault(
        "class M(type):\n    def __call__(cls): raise SystemExit(4)\nclass Cell(Right, metaclass=M): pass\n", None, 2, "SystemExit: 4"
    ),
    "a constructor that exits": Fault("class Cell(Right):\n    def __init__(self): raise SystemExit(4)\n", None, 2, "SystemExit: 4"),
    "a class that lies about its class": Fault(
        "class Cell(Right):\n    @property\n    def __class__(self): raise ValueError('no')\n", None, 2, "ValueError: no"
    ),
    "a like that is no string": Fault(
        "import enum\nclass Like(enum.Enum):\n    ELMAN = 'elman'\nclass Cell(Right):\n    like = Like.ELMAN\n",
        None,
        2,
        "wanted the name of",
    ),
    "sizes that fit in no machine": Fault("class Cell(Right):\n    batch_sizes = (10**12,)\n", None, 2, "Unable to allocate"),
}

FAULTS: dict[str, Fault] = {**ENDS, **REACHES, **FORMS, **LOADS}


def write(folder: Path, body: str, name: str = "cell.py") -> Path:
    """The file, in `folder`."""
    path = folder / name
    path.write_text(RIGHT + body)
    return path
