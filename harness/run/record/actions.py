"""In GitHub Actions a run leaves annotations in the log and its Markdown on the summary page of the step."""

from __future__ import annotations

import os
from collections.abc import Callable

from bptt.reports.records import Run


def in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def tell(run: Run, echo: Callable[[str], object]) -> None:
    """Where it runs there: annotations by `echo`, and the summary at the end of its file.  What cannot be written is left out."""
    if not in_actions():
        return
    from bptt.reports.text.github import annotated
    from bptt.reports.text.markdown import markdown

    for line in annotated(run):
        echo(line)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(markdown(run) + "\n")
        except OSError as error:
            echo(f"::warning title=bptt::the summary could not be written ({error.strerror or error})")
