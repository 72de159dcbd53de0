"""From what a user names (an object, ``pkg.mod:Attr``, ``path/file.py:Attr``) to subjects."""

from __future__ import annotations

import contextlib
import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bptt.harness.adapters import adapt
from bptt.harness.adapters.equations.adapt import adapt as text_of_equations
from bptt.harness.adapters.equations.adapt import is_text, named_as
from bptt.harness.adapters.frameworks import choose_keras_backend
from bptt.harness.adapters.functions.adapt import adapt as functions
from bptt.harness.adapters.functions.adapt import torch_call
from bptt.harness.adapters.objects import known_cell, known_recurrence, short_name
from bptt.harness.adapters.parts.adapt import part
from bptt.harness.adapters.reading.adapt import function_names, read_alone, read_pair
from bptt.harness.adapters.triton import choose_interpreter, settle
from bptt.harness.errors import NotInstalled, UsageError
from bptt.harness.subject import PARTS, Detection, Device, Subject
from bptt.harness.targets.importing import importable, is_path, is_users, module_of, named_in, saved_module, spec_of, split_target
from bptt.harness.targets.one_object import adapted_or_read, read_as_it_stands
from bptt.harness.targets.whole_file import PartlyUnderstoodError, all_of, defined_here, plausible, with_way_out
from bptt.harness.words import near_miss


def load(target: object, args: Mapping[str, object] | None = None, like: str | None = None, device: Device = "cpu") -> list[Subject]:
    """The subjects that `target` stands for: one, or all those that a module or file defines where no attribute is named.

    target  an object, class or factory, or a string ``pkg.mod:Attr``, ``path/file.py:Attr``, ``pkg.mod``, ``path/file.py``
    args    keyword arguments for the class or factory
    like    the published cell, or the part of a training loop, that it claims to be, in place of its own word; or equations, or another
            cell, that it is held against
    device  where a function over tensors is to run

    Raises UsageError, one line, where it cannot be found, imported, made or understood, PartlyUnderstoodError where a part of a file is
    understood; NotInstalled where the device is not here.
    """
    if like in PARTS:
        return [_part(target, args, str(like))]
    if like is not None and not is_text(like) and ":" not in like and not _is_recurrence(like):
        known_cell(like, "--like")
    choose_keras_backend()
    choose_interpreter(device)
    try:
        return _said(_on_card(target, args) if device == "cuda" else _loaded(target, args), like)
    except PartlyUnderstoodError as error:
        error.found = _said(error.found, like)
        raise


def _said(subjects: list[Subject], like: str | None) -> list[Subject]:
    """`subjects`, held against what they, or their user, say that they are.  Raises UsageError."""
    found = []
    for subject in subjects:
        said = like
        if subject.like is not None and like is None and subject.kind != "operator":
            if subject.kind == "cell" and is_text(subject.like):
                said = subject.like
            else:
                known_cell(subject.like, subject.spec)
        if subject.kind == "part" and like is not None:
            raise UsageError(f"--like {like}: {subject.spec} is a part of a training loop, wanted one of {', '.join(PARTS)}")
        found.append(subject if said is None else _claiming(subject, said))
    return found


def _claiming(subject: Subject, like: str) -> Subject:
    """`subject`, said to be `like`: a published cell or recurrence, equations, or the target string of another cell or operator."""
    if subject.operator is None:
        if is_text(like) or ":" in like:
            return replace(subject, like=None, other=_counterpart(subject, like))
        known_cell(like, "--like")
        return replace(subject, like=like)
    if ":" not in like:
        return replace(subject, like=known_recurrence(like, "--like"))
    others = load(like)
    if len(others) != 1 or others[0].operator is None:
        raise UsageError(f"--like {like}: got {' and '.join(other.kind for other in others)}, wanted one operator as {subject.spec} is")
    return replace(subject, like=None, operator=replace(subject.operator, other=like))


def _counterpart(subject: Subject, like: str) -> Subject:
    """The cell, or the equations, that a cell is held against.  Raises UsageError."""
    others = load(like)
    if subject.kind != "cell" or len(others) != 1 or others[0].kind != "cell":
        got = f"{' and '.join(other.kind for other in others)} beside {subject.spec}, a {subject.kind}"
        raise UsageError(f"--like {like}: got {got}, wanted one cell beside a cell")
    return (named_as(others[0], subject) or others[0]) if others[0].framework == "equations" else others[0]


def _is_recurrence(name: str) -> bool:
    from bptt.refimpl.scans import SCANS

    return name in SCANS


def _part(target: object, args: Mapping[str, object] | None, like: str) -> Subject:
    """The one object that `target` names, as the part of a training loop that it is said to be.  Raises UsageError."""
    if not isinstance(target, str):
        return part(target, f"<{short_name(target)}>", args, like)
    place, attribute = split_target(target)
    if not place or not attribute:
        raise UsageError(f"{target!r}: it names no function or class, wanted pkg.mod:NAME or path/file.py:NAME with --like {like}")
    module = module_of(place, target)
    return part(named_in(module, attribute, target), target, args, like)


def parse_args(text: str) -> dict[str, object]:
    """The keyword arguments in ``--args``.  Raises UsageError with the place of the mistake."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise UsageError("--args: nested too deep to be read, wanted a JSON object such as '{\"hidden_size\": 4}'") from None
    except json.JSONDecodeError as error:
        near = text[max(error.pos - 12, 0) : error.pos + 12]
        raise UsageError(
            f"--args: not JSON at character {error.pos + 1} ({error.msg}), near {near!r}, wanted an object such as '{{\"hidden_size\": 4}}'"
        ) from error
    if not isinstance(value, dict):
        raise UsageError(f"--args: got {json.dumps(value)[:60]}, wanted a JSON object such as '{{\"hidden_size\": 4}}'")
    return value


def _loaded(target: object, args: Mapping[str, object] | None) -> list[Subject]:
    return _load_string(target, args) if isinstance(target, str) else [adapt(target, f"<{short_name(target)}>", args)]


def _on_card(target: object, args: Mapping[str, object] | None) -> list[Subject]:
    """A function over tensors, to run on a GPU; what it is else runs on the processor, and says so.  Raises NotInstalled, UsageError."""
    place, attribute = split_target(target) if isinstance(target, str) else ("", "")
    if attribute and (place != "refimpl" or is_users("refimpl")):
        module = module_of(place, str(target))
        named, spec = named_in(module, attribute, str(target)), str(target)
    else:
        named, spec = target, f"<{short_name(target)}>"
    if isinstance(named, str) or torch_call(named, args, "cuda") is None:
        why = "the processor: --device cuda is for functions over tensors"
        return [replace(subject, detected=(*subject.detected, Detection("device", why))) for subject in _loaded(target, args)]
    import torch

    if not torch.cuda.is_available():
        raise NotInstalled(f"{spec}: no GPU that torch can use is here for --device cuda")
    found = functions(named, spec, args, "cuda")
    assert found is not None
    return [replace(found, detected=(*found.detected, Detection("device", f"cuda: {torch.cuda.get_device_name()}")))]


def _load_string(target: str, args: Mapping[str, object] | None) -> list[Subject]:
    if two := re.fullmatch(r"(.+:\w+)\+(.+:\w+)", target):
        return [_two_halves(two[1], two[2], target)]
    if is_text(target):
        return [text_of_equations(target, args)]
    place, attribute = split_target(target)
    if not place:
        raise UsageError(f"{target!r}: no module before the colon, wanted pkg.mod:Attr or path/file.py:Attr")
    if not attribute and _is_published(place):
        return [adapt(_reference(place, target), f"refimpl:{place}", args)]
    if place == "refimpl" and not is_users("refimpl"):
        return [adapt(_reference(name, target), f"refimpl:{name}", args) for name in ([attribute] if attribute else _published())]
    if target.endswith(".onnx"):
        return [adapt(Path(target).expanduser(), target, args)]
    if target.endswith((".pt", ".pth")):
        return [adapt(saved_module(Path(target).expanduser(), target), target, args)]
    module = module_of(place, target)
    settle()
    named = named_in(module, attribute, target) if attribute else None
    with _way_out(target):
        return [adapted_or_read(module, named, target, args)] if attribute else all_of(module, place, args)


def _two_halves(forward: str, back: str, target: str) -> Subject:
    """A forward function of one file with the backward function of another.  Raises UsageError."""
    halves = []
    beside = Path(split_target(forward)[0]).parent
    for half in (forward, back):
        place, name = split_target(half)
        if is_path(place) and not Path(place).is_file() and (beside / place).is_file():
            place = str(beside / place)  # FOLDER/forward.py:f+backward.py:g
        module = module_of(place, target)
        function = named_in(module, name, target)
        if not isinstance(function, types.FunctionType):
            raise UsageError(f"{target}: {name} is no function, wanted FILE:FORWARD+FILE:BACKWARD")
        halves.append((module, name))
    (one, f), (other, g) = halves
    both = [n for n, v in vars(one).items() if isinstance(v, types.FunctionType) and n in vars(other) and not _same_code(v, vars(other)[n])]
    if both and one is not other:
        raise UsageError(f"{target}: both files define {', '.join(both)}, and not in the same way; wanted names of their own for these")
    joined = types.ModuleType(f"{one.__name__}_and_{other.__name__}")
    vars(joined).update({k: v for k, v in (vars(other) | vars(one)).items() if not k.startswith("__")})
    joined.__file__, vars(joined)["__builtins__"] = one.__file__, vars(one)["__builtins__"]
    for name, value in list(vars(joined).items()):
        if isinstance(value, types.FunctionType) and value.__module__ in (one.__name__, other.__name__):
            twin = types.FunctionType(value.__code__, vars(joined), value.__name__, value.__defaults__, value.__closure__)
            twin.__kwdefaults__, twin.__module__ = value.__kwdefaults__, joined.__name__
            vars(joined)[name] = twin
    with _way_out(target):
        found = read_pair(joined, f, g, target)
        if found is None:
            raise UsageError(f"{target}: {f} and {g} were not understood as the halves of one another")
        return found


def _same_code(one: types.FunctionType, other: object) -> bool:
    return isinstance(other, types.FunctionType) and one.__code__.co_code == other.__code__.co_code


@contextlib.contextmanager
def _way_out(target: str) -> Iterator[None]:
    """A refusal says how to go on."""
    try:
        yield
    except PartlyUnderstoodError:  # whose parts say it each
        raise
    except UsageError as error:
        error.args = (with_way_out(str(error), target),)
        raise


def readings(target: str, args: Mapping[str, object] | None = None) -> list[tuple[str, Subject | UsageError]]:
    """Each thing that `target` names, by name, as the reading engine takes it, or with why it does not; adapters are not asked.

    Raises UsageError where the file or module cannot be found or imported.
    """
    place, attribute = split_target(target)
    module = module_of(place, target)
    classes = [n for n, v in vars(module).items() if isinstance(v, type) and defined_here(module, v) and plausible(v)]
    found: list[tuple[str, Subject | UsageError]] = []
    for name in [attribute] if attribute else [*classes, *function_names(module)]:
        try:
            value = named_in(module, name, target)
            subject = read_as_it_stands(module, value, f"{place}:{name}", args)
            if subject is None and isinstance(value, types.FunctionType):
                subject = read_alone(module, name, f"{place}:{name}")
        except UsageError as error:
            found.append((name, error))
            continue
        if subject is not None:
            found.append((name, subject))
    return found


def _is_published(name: str) -> bool:
    """Whether a target is the bare name of a published cell or recurrence, and no module of the user's."""
    from bptt.refimpl import CELLS
    from bptt.refimpl.scans import SCANS

    if name not in CELLS and name not in SCANS:
        return False
    with importable(Path.cwd()):
        return spec_of(name) is None


def _published() -> list[str]:
    from bptt.refimpl import CELLS

    return list(CELLS)


def _reference(name: str, target: str) -> object:
    from bptt.refimpl import CELLS
    from bptt.refimpl.scans import SCANS

    known: dict[str, object] = {**CELLS, **SCANS}
    if name not in known:
        raise UsageError(f"{target}: no reference cell {name!r}{near_miss(name, known) or ','} known are {', '.join(sorted(known))}")
    return known[name]
