"""The command `bptt`: options, exit codes and printing.  What is found is decided elsewhere.

Exit codes   0 conforms   1 does not   2 usage, or a target cannot be loaded   3 not decided   4 nothing was checked
             130 interrupted   143 terminated.   Of several the first in this order: 130 143 3 2 1 4 0.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from bptt.harness.cli.signals import sigterm_raises, was_terminated
from bptt.harness.cli.streams import guarded
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.levels import LEVELS
from bptt.harness.words import did_you_mean
from bptt.reports.accounting import CONFORMS, DOES_NOT_CONFORM, INTERRUPTED, NOT_DECIDED, TERMINATED, USAGE
from bptt.reports.errors import RecordError

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_REPORTS = (Path("build/report.html"), Path("build/report.json"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    with guarded():
        return _run(list(sys.argv[1:] if argv is None else argv) or ["--help"])


def _run(argv: list[str]) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:
        return _stop("the current folder does not exist any more, wanted one that does: cd to it", USAGE)
    try:
        with sigterm_raises():
            return bptt.main(args=argv, prog_name="bptt", standalone_mode=False, obj=shlex.join(["bptt", *argv])) or CONFORMS
    except click.ClickException as error:
        return _stop(error.format_message(), USAGE)
    except (BpttError, RecordError) as error:
        return _stop(str(error), USAGE)
    except (KeyboardInterrupt, click.Abort) as error:
        return _stop("terminated", TERMINATED) if was_terminated(error) else _stop("interrupted", INTERRUPTED)
    except Exception as error:
        if os.environ.get("BPTT_TRACEBACK"):
            raise
        kind, text = type(error).__name__, " ".join(str(error).split())
        place = f"{_last_place(error)}; BPTT_TRACEBACK=1 shows the whole way"
        return _stop(f"the harness itself failed: {kind}: {text} ({place})", NOT_DECIDED)


def _stop(message: str, exit_code: int) -> int:
    click.echo(f"bptt: {' '.join(message.split())}", err=True)
    return exit_code


def _last_place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "place unknown"


class _Grouped(click.Command):
    """A command whose help has its options under headings (`groups`: heading -> names of parameters) and ends with examples."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    examples: ClassVar[Sequence[str]] = ()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options: dict[str, list[tuple[str, str]]] = {}  # --quick and --full are two options of one parameter
        for each in self.get_params(ctx):
            if isinstance(each, click.Option) and each.name and (record := each.get_help_record(ctx)) is not None:
                options.setdefault(each.name, []).append(record)
        named = {name for names in self.groups.values() for name in names}
        for heading, names in {**self.groups, "Other options": [n for n in options if n not in named]}.items():
            with formatter.section(heading):
                formatter.write_dl([record for name in names for record in options.get(name, ())])
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write_text(line)


class _Check(_Grouped):
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "What is checked": ("like", "args", "level", "select", "ignore", "case", "no_block", "seed", "strict"),
        "What comes of it": ("reports", "resume", "quiet", "verbose", "no_color"),
        "Processes": ("jobs", "timeout", "memory", "device", "backend", "scheduler"),
    }
    examples: ClassVar[Sequence[str]] = (
        "bptt check mypkg/cells.py:MyGRU",
        "bptt check lstm gru_reset_after",
        "bptt check torch.nn:LSTM --args '{\"num_layers\": 2}' --report report.html",
        "bptt check cells.py:MyLSTM --like lstm --select gradient -v",
        "bptt check cells.py:MyLSTM --select GRD110 --case T1-N1-D3-H4",
    )


class _Experiment(_Grouped):
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "What is measured": ("cells", "size", "grids", "corpus", "seed"),
        "What comes of it": ("reports", "resume", "quiet", "verbose", "no_color"),
        "Processes": ("jobs", "backend", "scheduler"),
    }
    examples: ClassVar[Sequence[str]] = (
        "bptt experiment book",
        "bptt experiment --cell mypkg/cells.py:MyGRU --report flow.html",
        "bptt experiment --grid gain=0.5:3:20 seed=0:9",
    )


class _Commands(click.Group):
    """Commands in the order in which they are written; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise UsageError(f"no command {name!r}{did_you_mean(name, self.commands)}")
        return super().resolve_command(ctx, args)


def _json_object(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """The arguments with which a class is made."""
    if value is None:
        return None
    from bptt.harness.targets import parse_args

    return parse_args(value)


def _report_path(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Path, ...]:
    from bptt.harness.run.record.report_files import checked_path

    return tuple(dict.fromkeys(checked_path(path) for path in value))


_SUFFIXES = "Write .html .json .jsonl .xml or .md; repeatable."
_like = click.option("--like", metavar="NAME", help="What it claims to be: a published name, a file of equations, another target.")
_args = click.option("--args", callback=_json_object, metavar="JSON", help="""Arguments of the class: '{"num_layers": 2}'.""")
_seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random number.")
_backend = click.option(
    "--backend", type=click.Choice(("loky", "dask")), default="loky", show_default=True, help="Processes here, or dask's workers."
)
_scheduler = click.option("--scheduler", metavar="ADDRESS", help="Of dask: tcp://host:8786.")
_no_color = click.option("--no-color", is_flag=True, help="Plain text.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 118})
@click.version_option(package_name="bptt", prog_name="bptt")
def bptt() -> None:
    """Put a recurrent cell to the test: is it the cell it claims to be, and is its gradient right?"""


@bptt.command(cls=_Check)
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--report", "reports", multiple=True, callback=_report_path, metavar="PATH", help=_SUFFIXES)
@click.option("--level", type=click.Choice(LEVELS), help="How much is tried.  [default: standard]")
@click.option("--select", multiple=True, metavar="ID", help="Only this check, or family (GRD); repeatable.")
@click.option("--ignore", multiple=True, metavar="ID", help="Not this check, or family; repeatable.")
@_seed
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Targets at a time.  [default: one a core]")
@click.option("--timeout", type=float, metavar="S", help="Seconds of the processor for a target, five times as many by the clock.")
@click.option("--budget", metavar="S", help="60s: cases beyond the first of each check run while there is time; says which did not.")
@click.option(
    "--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Where functions over tensors run, and kernels."
)
@click.option("--memory", metavar="SIZE", help="Resident memory for a target.  [default: 8G, at most half of the machine's]")
@_backend
@_scheduler
@_like
@_args
@click.option(
    "--resume", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help="Take over this report's results of unchanged code."
)
@click.option("--strict", is_flag=True, help="A warning keeps a target from conforming.")
@click.option("--case", metavar="CASE", help="Only this case: T1-N1-D3-H4, or with a regime T12-N2-D3-H7-closed.")
@click.option("--no-block", is_flag=True, help="Run also what depends on a check that failed.")
@click.option("-s", "--prints", is_flag=True, help="What the code of a target prints, as it comes.")
@click.option("-q", "--quiet", is_flag=True, help="One line a target.")
@click.option("-v", "--verbose", is_flag=True, help="Every check.")
@_no_color
@click.pass_context
def check(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    reports: tuple[Path, ...],
    level: str | None,
    like: str | None,
    args: dict[str, Any] | None,
    no_color: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Check each TARGET, or those of [tool.bptt] targets in ./pyproject.toml.

    \b
    TARGET   pkg.mod:Attr    path/file.py:Attr    torch.nn:LSTM    model.onnx    lstm (a published name)
    """
    from bptt.harness.run.record.report_files import none_left_where_interrupted

    with none_left_where_interrupted(reports or (() if targets else DEFAULT_REPORTS)):
        from bptt.harness.cli import check as check_
        from bptt.harness.config import TargetEntry, read

    config = read(Path("pyproject.toml"))
    if targets:
        entries = tuple(TargetEntry(target, args, like) for target in targets)
    elif config.targets:
        if args is not None or like is not None:
            option = "--args" if args is not None else "--like"
            raise UsageError(f"{option}: wanted a TARGET with it, those of pyproject.toml have their own")
        entries, reports = config.targets, reports or DEFAULT_REPORTS
    else:
        raise UsageError("no target: wanted one on the command line, or [tool.bptt] targets in ./pyproject.toml")
    return check_.check(
        entries,
        reports,
        level=level or config.level,
        expect=config.expect,
        console=_console(no_color),
        progress=None if quiet or not sys.stderr.isatty() else _console(no_color, stderr=True),
        detail="verbose" if verbose else "quiet" if quiet else "normal",
        command=ctx.obj,
        block=not options.pop("no_block"),
        **options,
    )


@bptt.command(cls=_Experiment)
@click.argument("words", nargs=-1, metavar="[NAME]... [SETTING=GRID]...")
@click.option("--cell", "cells", multiple=True, metavar="TARGET", help="Put this cell into the experiments that take one; repeatable.")
@click.option("--quick", "size", flag_value="quick", help="Smaller sizes: all of it in three minutes on two cores.")
@click.option("--full", "size", flag_value="full", help="The sizes of the publications.")
@click.option("--grid", "grids", multiple=True, metavar="GRID", help="gain=0.5:3:20, seed=0:9 or b=0,1,3 in place of a setting.")
@click.option("--corpus", metavar="PATH", help="The text that language models read: a file, a CSV, a directory with ptb.*.txt.")
@click.option("--lesson", is_flag=True, help="Six pictures that teach BPTT, in order; --cell puts yours into the first.")
@click.option("--weights", metavar="FILE", help="Trained weights of --cell, put into the comparison: .npz, .safetensors or .pt.")
@click.option("--data", metavar="FILE", help="Sequences of your own for the comparison: .npy, (T, N, D) or (T, D).")
@click.option("--report", "reports", multiple=True, callback=_report_path, metavar="PATH", help=_SUFFIXES)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Is added to every seed.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes.  [default: one a core]")
@_backend
@_scheduler
@click.option("--resume", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help="Take over this file's points; add to it.")
@click.option("-q", "--quiet", is_flag=True, help="One line an experiment.")
@click.option("-v", "--verbose", is_flag=True, help="Every claim.")
@_no_color
def experiment(
    words: tuple[str, ...],
    grids: tuple[str, ...],
    size: str | None,
    lesson: bool,
    no_color: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Run gradient-flow experiments: each NAME, or the whole catalogue, held against theory.

    \b
    bptt experiment book
    bptt experiment --grid gain=0.5:3:20 seed=0:9

    A sweep that was cut off goes on where it stopped: the same command finds its points in build/experiments/points.jsonl.
    """
    from bptt.harness.cli import experiment as experiment_

    return experiment_.experiment(
        (*(["lesson"] if lesson else []), *(word for word in words if "=" not in word)),
        (*grids, *(word for word in words if "=" in word)),
        size="quick" if size == "quick" else "full" if size == "full" else "normal",
        console=_console(no_color),
        progress=None if quiet or not sys.stderr.isatty() else _console(no_color, stderr=True),
        detail="verbose" if verbose else "quiet" if quiet else "normal",
        **options,
    )


@bptt.command()
@click.argument("target")
@_like
@_args
@_seed
@_no_color
def identify(target: str, like: str | None, args: dict[str, Any] | None, seed: int, no_color: bool) -> int:
    """Say which published cell TARGET is, and in which convention."""
    from bptt.harness.api import describe as describe_

    console, unknown = _console(no_color), False
    for subject, found in describe_.identify_each(target, like=like, args=args, seed=seed):
        unknown = unknown or found is None
        _print(console, *describe_.identification_lines(subject, found, seed))
    return DOES_NOT_CONFORM if unknown else CONFORMS


@bptt.command()
@click.argument("a")
@click.argument("b")
@_args
@click.option("--args-b", callback=_json_object, metavar="JSON", help="Arguments of B's class, as --args are of A's.")
@_seed
@_no_color
def compare(a: str, b: str, args: dict[str, Any] | None, args_b: dict[str, Any] | None, seed: int, no_color: bool) -> int:
    """Carry the weights of A to B, and hold outputs, states and gradients against each other."""
    from bptt.harness.api import compare as compare_

    found = compare_.compare(a, b, args, args_b, seed)
    _print(_console(no_color), *compare_.lines(found))
    return CONFORMS if found.ok else DOES_NOT_CONFORM


@bptt.command()
@click.argument("target")
@_like
@_args
@_no_color
def describe(target: str, like: str | None, args: dict[str, Any] | None, no_color: bool) -> int:
    """Say what was detected of TARGET, and why."""
    from bptt.harness.api import describe as describe_

    _print(_console(no_color), describe_.describe(target, like=like, args=args))
    return CONFORMS


@bptt.command()
@click.argument("target", required=False)
@_args
@_no_color
def init(target: str | None, args: dict[str, Any] | None, no_color: bool) -> int:
    """Write TARGET under the contract's methods, filled in as far as it was understood, and check it; without TARGET a test file."""
    from bptt.harness.cli.init import begin, fill

    console = _console(no_color)
    return begin(console) if target is None else fill(target, args, console)


@bptt.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--with", "own", metavar="TARGET", help="Your own loop in place of torch's: path/file.py:loop.")
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True, help="Batches, one a step.")
@click.option("--optimizer", metavar="NAME", help="sgd, momentum or adam.  [default: sgd and adam]")
@_seed
@click.option("--report", "reports", multiple=True, callback=_report_path, metavar="PATH", help=_SUFFIXES)
@_no_color
@click.pass_context
def lockstep(ctx: click.Context, /, models: tuple[str, ...], no_color: bool, **options: Any) -> int:
    """Train each MODEL in NumPy and in torch, and hold every loss and every parameter together step by step.

    \b
    MODEL    rnn  gru  lstm  better-rnnlm  bigru  seq2seq (-dot, -additive)        none: all of them
    bptt lockstep lstm --with path/file.py:loop
             loop(params, batches, settings) yields (loss, params) after each step
    """
    from bptt.harness.cli import lockstep as lockstep_

    return lockstep_.run(models, command=ctx.obj, console=_console(no_color), **options)


@bptt.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@_like
@_args
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="RATIO", help="The largest ratio that is fast enough.")
@click.option("--report", "reports", multiple=True, callback=_report_path, metavar="PATH", help=_SUFFIXES)
@_no_color
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    like: str | None,
    args: dict[str, Any] | None,
    budget: float | None,
    reports: tuple[Path, ...],
    no_color: bool,
) -> int:
    """Say how fast each TARGET is, as ratios in one run: against the reference, and against torch where it has the same cell.

    \b
    exit   5 a ratio is above its budget    0 none is
    """
    from bptt.harness.api import bench as bench_
    from bptt.harness.cli.check import say_refused
    from bptt.harness.run.environment import environment
    from bptt.harness.run.record.report_files import write_all
    from bptt.reports import accounting
    from bptt.reports.records import Run

    benches = tuple(b for target in targets for b in bench_.bench(target, like, args, budget))
    slower = any(b.budget is not None and b.ratio > b.budget for b in benches)
    run = Run(ctx.obj, 0, environment(), benches=benches, exit_code=accounting.SLOWER if slower else CONFORMS)
    _print(_console(no_color), *bench_.lines(benches))
    say_refused(refused := write_all(run, reports))
    return USAGE if refused else run.exit_code


@bptt.command(name="list")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@_no_color
def list_(words: tuple[str, ...], no_color: bool) -> int:
    """List checks, published cells, recurrences, parts of training loops and experiments: those whose name, family or text has each WORD.

    \b
    bptt list gradient        bptt list lstm        bptt list experiments
    """
    from bptt.harness.cli import catalogue as catalogue_

    _print(_console(no_color), *catalogue_.list_lines(words))
    return CONFORMS


@bptt.command()
@click.argument("identifier", metavar="ID")
@_no_color
def explain(identifier: str, no_color: bool) -> int:
    """Explain the check or the family ID: what it asserts, why, how it judges, which bugs it finds."""
    from bptt.harness.cli import catalogue as catalogue_

    _print(_console(no_color), *catalogue_.explain_lines(identifier))
    return CONFORMS


@bptt.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN.json...")
@click.option("-o", "--output", multiple=True, metavar="PATH", help=f"{_SUFFIXES}  [default: report.html]")
@click.option("--baseline", metavar="RUN", help="An earlier run: what is new, fixed, changed or slower since, in a .html report.")
def report(runs: tuple[str, ...], output: tuple[str, ...], baseline: str | None) -> int:
    """Make a report of one or more runs (and benchmark files), merged."""
    from bptt.harness.cli.check import say_refused
    from bptt.harness.run.record.report_files import checked_path, write_all
    from bptt.reports.store import WITHOUT_RATIO, merge

    paths = [checked_path(path, "-o") for path in output or ("report.html",)]
    run = merge(runs)
    refused = write_all(run, paths, None if baseline is None else merge([baseline]))
    if written := [str(path) for path in paths if path not in refused]:
        click.echo(f"{', '.join(written)} written", err=True)
    if left := run.env.get(WITHOUT_RATIO):
        click.echo(f'bptt: not drawn, for want of a "ratio" in their extra_info: {", ".join(map(str, left))}', err=True)
    say_refused(refused)
    return USAGE if refused else CONFORMS


@bptt.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@_no_color
def diff(old: str, new: str, no_color: bool) -> int:
    """Say what is new, changed, fixed or slower in the run NEW, against the run OLD (reports of any kind but .xml and .md).

    \b
    exit   1 new or changed failures    3 a check is not decided any more    5 slower only    0 none of these
    """
    from bptt.reports.difference import MEANINGS, counts_text, difference
    from bptt.reports.store import merge

    found = difference(merge([old]), merge([new]))
    lines = [f"{change.word:<8} {change.target}  {change.check}  {change.text}" for change in found.changes]
    words = dict.fromkeys(change.word for change in found.changes)
    _print(_console(no_color), *lines, counts_text(found), *(f"  {word:<8} {MEANINGS[word]}" for word in words))
    return found.exit_code


@bptt.command()
@_no_color
def doctor(no_color: bool) -> int:
    """Show the frameworks found, their versions, and what the numbers run on."""
    from bptt.harness.cli import catalogue as catalogue_

    _print(_console(no_color), *catalogue_.doctor_lines())
    return CONFORMS


def _console(no_color: bool, stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 118  # without a terminal there is no width to keep to
    return Console(stderr=stderr, no_color=no_color or None, color_system=None if no_color else "auto", width=width)


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
