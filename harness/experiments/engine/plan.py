"""From what was asked for to the points that have to be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine import grids as grids_
from bptt.harness.experiments.engine.catalogue import definitions
from bptt.harness.experiments.engine.definition import Definition, Scalar, Settings
from bptt.harness.words import did_you_mean

Size = Literal["quick", "normal", "full"]


@dataclass(frozen=True)
class Planned:
    """One experiment of a run: its settings, tuples being swept, and the settings of each point in the order of the grid."""

    definition: Definition
    cell: str | None
    settings: Mapping[str, Scalar | tuple[Scalar, ...]]

    @property
    def points(self) -> tuple[Settings, ...]:
        axes = [value if isinstance(value, tuple) else (value,) for value in self.settings.values()]
        return tuple(dict(zip(self.settings, values, strict=True)) for values in product(*axes))


def plan(
    names: Sequence[str] = (),
    *,
    cells: Sequence[str] = (),
    size: Size = "normal",
    seed: int = 0,
    grids: Sequence[str] = (),
) -> tuple[Planned, ...]:
    """Which experiments run, and on which points.

    names   of the catalogue; none: all, or with `cells` those that take a cell
    cells   targets; each is an experiment of its own
    size    "quick" and "full" replace settings as the definitions say
    seed    is added to every seed of the settings
    grids   "gain=0.5:3:20" and the like replace a setting of every experiment that has it; of a seed it is taken as it stands

    Raises UsageError for a name, a cell or a grid that fits nowhere.
    """
    chosen = definitions(names)
    if cells:
        chosen = _of_cell(chosen, named=bool(names))
    parsed = grids_.parse(grids)
    if cells and "cell" in parsed:
        raise UsageError("--grid: cell is given by --cell already")
    grids_.check_known(parsed, chosen)
    each = tuple(dict.fromkeys(cells)) or (None,)
    return tuple(
        planned
        for d in chosen
        for planned in (
            [_together(d, each, _settings(d, None, size, seed, parsed))]
            if d.together
            else [Planned(d, cell, _settings(d, cell, size, seed, parsed)) for cell in each]
        )
    )


def _together(d: Definition, cells: Sequence[str | None], settings: dict[str, Scalar | tuple[Scalar, ...]]) -> Planned:
    """All cells of the run before those that the experiment sets beside them."""
    mine = tuple(cell for cell in cells if cell is not None)
    if not mine:
        return Planned(d, None, settings)
    beside = settings["cell"] if isinstance(settings["cell"], tuple) else (settings["cell"],)
    settings |= {"cell": tuple(dict.fromkeys((*mine, *beside))), "sizes_of": mine[0]}
    return Planned(d, mine[0] if len(mine) == 1 else None, settings)


def _of_cell(chosen: Sequence[Definition], named: bool) -> tuple[Definition, ...]:
    takes = tuple(d for d in chosen if d.of_cell and (named or not d.by_name))
    refuses = [d.name for d in chosen if not d.of_cell]
    if named and refuses:
        those = tuple(d.name for d in definitions() if d.of_cell)
        raise UsageError(f"--cell: experiment {refuses[0]!r} takes no cell{did_you_mean(refuses[0], those)}")
    if not takes:
        raise UsageError("--cell: no experiment of the catalogue takes a cell")
    return takes


def _settings(
    d: Definition, cell: str | None, size: Size, seed: int, grids: Mapping[str, tuple[Scalar, ...]]
) -> dict[str, Scalar | tuple[Scalar, ...]]:
    replaced = {"quick": d.quick, "normal": {}, "full": d.full}[size]
    strangers = replaced.keys() - d.settings.keys()
    if strangers:
        raise UsageError(f"experiment {d.name!r}: {size} replaces {min(strangers)!r}, which is none of its settings")
    settings = {**d.settings, **replaced}
    if cell is not None:
        settings["cell"] = cell
    if "seed" in settings:
        settings["seed"] = _shifted(settings["seed"], seed)
    for name, values in grids.items():
        if name in settings:
            fitting = grids_.fitting(values, d.settings[name], name, d.name)
            settings[name] = fitting if len(fitting) > 1 or isinstance(settings[name], tuple) else fitting[0]
    return settings


def _shifted(seeds: Scalar | tuple[Scalar, ...], by: int) -> Scalar | tuple[Scalar, ...]:
    if isinstance(seeds, tuple):
        return tuple(s + by if isinstance(s, int) else s for s in seeds)
    return seeds + by if isinstance(seeds, int) else seeds


def with_given(planned: Sequence[Planned], weights: str | None, data: str | None, content: str) -> tuple[Planned, ...]:
    """The plan with a user's own weights and sequences, where an experiment has a place for them: it then measures the start "given" too.

    content   a fingerprint of both files.  Raises UsageError where no experiment has a place for them, or no cell was named.
    """
    taking = [p for p in planned if "weights" in p.settings and "data" in p.settings]
    if not taking:
        raise UsageError("--weights, --data: no experiment that was asked for takes them, wanted comparison")
    if weights and not all(p.settings["sizes_of"] for p in taking):
        raise UsageError("--weights: of no cell, wanted --cell TARGET as well")

    def given(p: Planned) -> Planned:
        starts = p.settings["start"] if isinstance(p.settings["start"], tuple) else (p.settings["start"],)
        return replace(
            p, settings={**p.settings, "start": (*starts, "given"), "weights": weights or "", "data": data or "", "content": content}
        )

    return tuple(given(p) if p in taking else p for p in planned)
