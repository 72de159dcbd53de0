"""`--report PATH`: which view of the record a file's suffix asks for, and the writing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bptt.harness.errors import UsageError
from bptt.reports.records import Run


def _html(run: Run, path: Path, baseline: Run | None = None) -> None:
    from bptt.reports.page.html import write_html

    write_html(run, path, baseline)


def _json(run: Run, path: Path) -> None:
    from bptt.reports.store import write_json

    write_json(run, path)


def _json_lines(run: Run, path: Path) -> None:
    from bptt.reports.store import stream_of, write_bytes

    write_bytes(stream_of(run), path)


def _junit(run: Run, path: Path) -> None:
    from bptt.reports.text.junit import write_junit

    write_junit(run, path)


def _markdown(run: Run, path: Path) -> None:
    from bptt.reports.text.markdown import write_markdown

    write_markdown(run, path)


WRITERS: dict[str, Callable[[Run, Path], None]] = {
    ".html": _html,
    ".json": _json,
    ".jsonl": _json_lines,
    ".xml": _junit,
    ".md": _markdown,
}
#: Files into which each result is written as it is known; a .json file becomes one JSON document at the end of the run.
STREAMED = frozenset({".json", ".jsonl"})


def checked_path(path: str | Path, option: str = "--report") -> Path:
    """`path` if its suffix names a view and a file can stand there.  Raises UsageError naming `option`."""
    path = Path(path)
    if path.suffix not in WRITERS:
        raise UsageError(f"{option}: got {str(path)!r}, wanted a name that ends in one of {', '.join(WRITERS)}")
    if path.is_dir():
        raise UsageError(f"{option}: {str(path)!r} is a folder, wanted a file")
    if not next(parent for parent in path.absolute().parents if parent.exists()).is_dir():
        raise UsageError(f"{option}: {str(path)!r} cannot be made, a file stands where a folder is wanted")
    return path


@contextmanager
def none_left_where_interrupted(paths: Iterable[Path]) -> Iterator[None]:
    """What is ended before its run has begun leaves no report of an earlier run behind, as one that is ended later does not."""
    try:
        yield
    except KeyboardInterrupt:
        from bptt.reports.store import remove_earlier

        for path in paths:
            with suppress(OSError):
                remove_earlier(path)
        raise


def write(run: Run, path: Path) -> None:
    """The view of `run` that the suffix of `path` names; makes parent folders.  Raises OSError."""
    WRITERS[path.suffix](run, path)


def write_all(run: Run, paths: Iterable[Path], baseline: Run | None = None) -> dict[Path, str]:
    """Each report that can be written is written; {path: why} of the others.  Nothing that goes wrong with one keeps the next from it.

    baseline   an earlier run, which the page is held against
    """
    refused = {}
    for path in paths:
        try:
            if path.suffix == ".html" and baseline is not None:
                _html(run, path, baseline)
            else:
                write(run, path)
        except OSError as error:
            refused[path] = error.strerror or str(error)
        except Exception as error:  # a fault of ours in one view: the verdict stands, and so do the other views
            refused[path] = f"a fault of bptt's own, {type(error).__name__}: {' '.join(str(error).split())}"
    return refused
