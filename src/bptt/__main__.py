"""The command `bptt`, and `python -m bptt`: Ctrl-C is one line whenever it comes, also while what stands behind it is imported."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130


def main() -> int:
    """Run the command; returns the exit code."""
    try:
        import signal

        try:
            from bptt.harness.cli.main import main as command

            return command()
        finally:  # what is left is to end: Ctrl-C does that too, without a word
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        if os.environ.get("BPTT_TRACEBACK"):
            raise
        if sys.stderr is not None:
            print("bptt: interrupted", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
