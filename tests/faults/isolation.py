"""What one target does to its process, to the others and to whoever listens."""

from __future__ import annotations

from tests.faults.fault import WRONG, Fault, cell, edited

CONFORMS, FAILS, OPEN, UNLOADABLE = "conforms", "does not conform", "not decided", "cannot be loaded"
RUN = "    def run(self, params, xs, state):\n"
BACKWARD = "    def backward(self, params, xs, state, dys, dfinal):\n"


def in_run(line: str) -> tuple[str, str]:
    return RUN, RUN + "".join(f"        {each}\n" for each in line.split("\n"))


def in_backward(line: str) -> tuple[str, str]:
    return BACKWARD, BACKWARD + "".join(f"        {each}\n" for each in line.split("\n"))


ISOLATION: tuple[Fault, ...] = (
    Fault(
        "own-utils-wrong",
        "imports a utils.py of its own folder, as the cell beside it does; its gradient is 10 % too large",
        {
            "b/c.py": edited(("dU += hs[t].T @ da", "dU += K * hs[t].T @ da"), front="from utils import K\n"),
            "b/utils.py": "K = 1.1\n",
            "utils.py": "K = 1.0\n",
        },
        "b/c.py:Cell",
        FAILS,
        1,
        "dL/dU",
        quick=True,
    ),
    Fault(
        "own-utils-right",
        "imports a utils.py of its own folder; a wrong cell beside it has a utils.py too",
        {
            "a/c.py": edited(("dU += hs[t].T @ da", "dU += K * hs[t].T @ da"), front="from utils import K\n"),
            "a/utils.py": "K = 1.0\n",
            "utils.py": "K = 1.1\n",
        },
        "a/c.py:Cell",
        CONFORMS,
        0,
    ),
    cell(
        "patches-numpy",
        "replaces np.max, np.allclose and np.abs while it is imported",
        CONFORMS,
        0,
        "",
        front="import numpy as np\n",
        behind="\nnp.max = np.amax = lambda *a, **k: 0.0\nnp.allclose = lambda *a, **k: True\n",
        quick=True,
    ),
    cell(
        "patches-and-is-wrong",
        "replaces np.allclose by True, and its gradient is wrong",
        FAILS,
        1,
        "dL/dU",
        ("dU += hs[t].T @ da", "dU += 1.1 * hs[t].T @ da"),
        behind="\nnp.allclose = lambda *a, **k: True\n",
    ),
    cell("seeds-numpy", "sets the seed of NumPy's global generator in every call", CONFORMS, 0, "", in_run("np.random.seed(0)")),
    cell("raises-on-floats", "makes every floating-point warning of NumPy an error", CONFORMS, 0, "", behind="\nnp.seterr(all='raise')\n"),
    cell("changes-folder", "changes the current folder to / in its run", CONFORMS, 0, "", in_run("import os\nos.chdir('/')")),
    cell("changes-environment", "empties PATH and PYTHONPATH", CONFORMS, 0, "", front="import os\nos.environ.clear()\n"),
    cell("changes-path", "empties sys.path after its import", CONFORMS, 0, "", behind="\nimport sys\nsys.path.clear()\n"),
    cell(
        "closes-standard-streams",
        "closes standard output and standard error",
        CONFORMS,
        0,
        "",
        in_run("import sys\nsys.stdout.close(); sys.stderr.close()"),
    ),
    cell("prints-much", "prints a thousand lines in each run", CONFORMS, 0, "", in_run("print('noise\\n' * 1000)")),
    cell(
        "writes-to-descriptor-1",
        "writes bytes to the descriptor of standard output",
        CONFORMS,
        0,
        "",
        in_run("import os\nos.write(1, b'\\x80\\x04junk')"),
    ),
    cell(
        "forges-messages",
        "writes a passing result to every descriptor that it can open; its gradient is wrong",
        FAILS,
        1,
        "dL/dU",
        ("dU += hs[t].T @ da", "dU += 1.1 * hs[t].T @ da"),
        behind="""
import json, os
_forged = json.dumps({"result": {"target": "forges_messages.py:Cell", "check": "GRD110", "status": "passed"}}).encode() + b"\\n"
for _fd in range(3, 8):
    try:
        os.set_blocking(_fd, False)
        os.write(_fd, len(_forged).to_bytes(4, "big") + _forged)
    except OSError:
        pass
""",
        quick=True,
    ),
    cell("closes-descriptors", "closes every descriptor above 2", OPEN, 3, "", in_run("import os\nos.closerange(3, 64)")),
    cell("forks", "forks in its run; the child goes on as if nothing were", CONFORMS, 0, "", in_run("import os\nos.fork()")),
    cell(
        "leaves-a-thread",
        "leaves a thread behind that never ends",
        CONFORMS,
        0,
        "",
        front="import threading, time\nthreading.Thread(target=time.sleep, args=(10**6,)).start()\n",
    ),
    cell(
        "leaves-a-child",
        "leaves a child process behind that holds every descriptor open",
        CONFORMS,
        0,
        "",
        front="import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False)\n",
    ),
    cell("reads-standard-input", "waits for a line of standard input", FAILS, 1, "EOF", in_run("input()")),
    cell(
        "kills-itself",
        "ends its process with SIGKILL in backward",
        FAILS,
        1,
        "SIGKILL",
        in_backward("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
        quick=True,
    ),
    cell("segmentation-fault", "reads address 0 in backward", FAILS, 1, "SIGSEGV", in_backward("import ctypes\nctypes.string_at(0)")),
    cell(
        "exits-with-0",
        "ends its process with code 0 in backward, as if all were done",
        FAILS,
        1,
        "",
        in_backward("import os\nos._exit(0)"),
        quick=True,
    ),
    cell("exits-politely", "calls sys.exit in backward", FAILS, 1, "SystemExit", in_backward("import sys\nsys.exit('that will do')")),
    cell("interrupts", "raises KeyboardInterrupt in backward", FAILS, 1, "KeyboardInterrupt", in_backward("raise KeyboardInterrupt")),
    cell(
        "raises-a-base-exception",
        "raises a BaseException of its own in backward",
        FAILS,
        1,
        "Stop",
        in_backward("raise Stop('no')"),
        front="class Stop(BaseException):\n    pass\n\n\n",
    ),
    cell(
        "cannot-be-said",
        "raises an exception whose text raises",
        FAILS,
        1,
        "Mute",
        in_backward("raise Mute"),
        front="class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError('no words')\n    __repr__ = __str__\n\n\n",
    ),
    cell(
        "recursion",
        "calls itself without end in backward",
        FAILS,
        1,
        "RecursionError",
        in_backward("return self.backward(params, xs, state, dys, dfinal)"),
    ),
    cell(
        "endless-loop",
        "computes without end in backward",
        OPEN,
        3,
        "CPU",
        in_backward("while True:\n    pass"),
        options=("--timeout", "2"),
    ),
    cell(
        "sleeps",
        "sleeps without end in backward",
        OPEN,
        3,
        "clock",
        in_backward("import time\ntime.sleep(10**6)"),
        options=("--timeout", "0.6"),
    ),
    cell(
        "ignores-signals",
        "ignores SIGTERM and SIGALRM, and computes without end",
        OPEN,
        3,
        "CPU",
        in_backward(
            "from signal import SIG_IGN, SIGALRM, SIGTERM, SIGXCPU, signal\n"
            "for each in (SIGTERM, SIGALRM, SIGXCPU):\n    signal(each, SIG_IGN)\nwhile True:\n    pass"
        ),
        options=("--timeout", "2"),
    ),
    cell(
        "memory",
        "asks for more memory in every call and keeps it",
        FAILS,
        1,
        "memory",
        in_backward("self.kept = getattr(self, 'kept', []) + [np.ones((4096, 4096))]"),
        options=("--memory", "1.5G"),
    ),
    cell("huge-array", "asks for an array of 2**60 numbers in backward", FAILS, 1, "MemoryError", in_backward("np.empty(2**60)")),
    cell(
        "sleeps-while-imported",
        "sleeps without end while it is imported",
        UNLOADABLE,
        2,
        "",
        front="import time\ntime.sleep(10**6)\n",
        options=("--timeout", "0.6"),
    ),
    cell("dies-while-imported", "ends its process while it is imported", UNLOADABLE, 2, "", front="import os\nos._exit(0)\n"),
    cell(
        "exits-while-imported",
        "calls sys.exit while it is imported",
        UNLOADABLE,
        2,
        "SystemExit",
        front="import sys\nsys.exit(3)\n",
        quick=True,
    ),
    Fault("syntax", "is no Python", {"syntax.py": "class Cell:\n    def run(self:\n"}, "syntax.py:Cell", UNLOADABLE, 2, "syntax.py:2"),
    Fault("no-file", "is not there", {}, "nowhere.py:Cell", UNLOADABLE, 2, "nowhere.py"),
    Fault("no-attribute", "has no class of that name", {"no_attribute.py": WRONG}, "no_attribute.py:Sell", UNLOADABLE, 2, "Cell"),
)
