"""What one target does to what the others have too: modules, NumPy, the folder, the environment; and what cannot be loaded."""

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
    cell(
        "patched-right",
        "has a wrong backward, and puts the right one in its place at the end of its file",
        CONFORMS,
        0,
        "",
        ("dU += hs[t].T @ da", "dU += self.factor * hs[t].T @ da"),
        ("class Cell:\n", "class Cell:\n    factor = 1.1\n\n"),
        behind='\nsetattr(Cell, "factor", 1.0)\nprint_all = [].clear\nprint_all()\n',
    ),
    cell(
        "patched-wrong",
        "has a right backward, and spoils it at the end of its file",
        FAILS,
        1,
        "dL/dU",
        ("dU += hs[t].T @ da", "dU += self.factor * hs[t].T @ da"),
        ("class Cell:\n", "class Cell:\n    factor = 1.0\n\n"),
        behind="\ndef faster(cls):\n    cls.factor = 1.1\n\nfaster(Cell)\n",
    ),
    cell(
        "other-branch",
        "is wrong by the branch that its file takes, in a file that trains when it is run",
        FAILS,
        1,
        "dL/dU",
        ("dU += hs[t].T @ da", "dU += FACTOR * hs[t].T @ da"),
        front="PLAIN = False\nif PLAIN:\n    FACTOR = 1.0\nelse:\n    FACTOR = 1.1\n",
        behind="\ndef main():\n    while True: pass\n\nmain()\n",
    ),
    cell(
        "is-wrong-and-hangs",
        "its gradient is wrong, and it comes back no more while the cause is sought",
        FAILS,
        1,
        "dL/dU",
        ("dU += hs[t].T @ da", "dU += 1.1 * hs[t].T @ da"),
        in_backward("self.calls = getattr(self, 'calls', 0) + 1\nwhile self.calls > 60:\n    pass"),
        options=("--timeout", "4"),
    ),
    cell("seeds-numpy", "sets the seed of NumPy's global generator in every call", CONFORMS, 0, "", in_run("np.random.seed(0)")),
    cell("raises-on-floats", "makes every floating-point warning of NumPy an error", CONFORMS, 0, "", behind="\nnp.seterr(all='raise')\n"),
    cell("changes-folder", "changes the current folder to / in its run", CONFORMS, 0, "", in_run("import os\nos.chdir('/')")),
    cell("changes-environment", "empties PATH and PYTHONPATH", CONFORMS, 0, "", front="import os\nos.environ.clear()\n"),
    cell("changes-path", "empties sys.path after its import", CONFORMS, 0, "", behind="\nimport sys\nsys.path.clear()\n"),
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
    Fault(
        "byte-order-mark",
        "begins with a byte order mark, as editors on Windows write it, and its gradient is wrong",
        {"mark.py": "\ufeff" + edited(("dU += hs[t].T @ da", "dU += 1.1 * hs[t].T @ da"))},
        "mark.py:Cell",
        FAILS,
        1,
        "dL/dU",
    ),
    Fault("syntax", "is no Python", {"syntax.py": "class Cell:\n    def run(self:\n"}, "syntax.py:Cell", UNLOADABLE, 2, "syntax.py:2"),
    Fault("no-file", "is not there", {}, "nowhere.py:Cell", UNLOADABLE, 2, "nowhere.py"),
    Fault("no-attribute", "has no class of that name", {"no_attribute.py": WRONG}, "no_attribute.py:Sell", UNLOADABLE, 2, "Cell"),
)
