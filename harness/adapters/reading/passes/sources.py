"""Which argument of a backward pass is what: by the author's names first, then each that fits."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.passes.form import TARGETS, Forward, Path
from bptt.harness.adapters.reading.passes.running import cotangent_layouts, parts_of


def sources_of(forward: Forward, method: str) -> Iterator[tuple[dict[str, Path], str, int]]:
    """Ways to read backward's arguments, the likeliest first, with how many of them the author's words decide."""
    needed, optional = words.arguments(forward.owner.methods[method])
    needed = [n for n in (*needed, *words.unbound(forward.owner.methods[method])) if n not in ("self", "cls")]
    rates = [n for n in optional if "rate" in words.roles(n)]
    cotangent = [n for n in optional if words.COTANGENT.match(n) and (optional[n] is None or optional[n] == 0)]
    weights = [n for n in optional if n in forward.owner.handed]
    items, handed = _items(forward), words.handed_from(forward.owner.methods, method)
    for names in dict.fromkeys(((*needed, *rates, *cotangent, *weights), (*needed, *rates, *weights))):
        choices = [_held(handed, name) or _choices(forward, method, name, items, names) for name in names]
        combined = sorted(itertools.islice(itertools.product(*choices), 2000), key=lambda c: -sum(agree for _, agree in c))[:_MOST]
        apart = [c for c in combined if _apart(c)]
        apart = apart or ([carried for c in combined if _apart(carried := _carried(c, forward.finals.get("h")))] if forward.is_step else [])
        for chosen, target in itertools.product(apart, _targets_of(forward, choices)):
            yield {n: s for n, (s, _) in zip(names, chosen, strict=True)}, target, sum(a for _, a in chosen)
        if apart:
            return


#: Of the ways to read the arguments of one backward pass so many are tried.
_MOST = 150


def _targets_of(forward: Forward, choices: Sequence[Sequence[tuple[Path, int]]]) -> Sequence[str]:
    """The layouts of targets to try."""
    if "targets" in forward.roles.values():
        return (forward.target,)
    if any(c[0][0] == ("targets",) for c in choices if c):
        return TARGETS["one" if forward.sizes.N == 1 else "many"]
    return ("",)


_Choice = tuple[tuple[Path, int], ...]


def _apart(chosen: _Choice) -> bool:
    """Whether no two arguments are the same thing, and none is the gradient of what another one hands back as a part of a cache."""
    parts = [s for whole, _ in chosen for s in parts_of(whole)]
    used = [s[:2] for s in parts if s[0] in ("cotangent", "carry", "leaf", "item", "arg")]
    caches = [s[1] for s in parts if s[0] == "item" and len(s[1]) > 1]
    inside = [s for s in parts if s[0] == "cotangent" and any(s[1] != c and s[1][: len(c)] == c for c in caches)]
    return len(set(used)) == len(used) and not inside


def _carried(chosen: _Choice, h: Path | None) -> _Choice:
    """Where two arguments are gradients of h, which is the output and goes on to the next step, the second one is that of the next step."""
    found: list[tuple[Path, int]] = []
    for source, agree in chosen:
        again = source[:2] == ("cotangent", h) and any(s[:2] == source[:2] for s, _ in found)
        found.append((("carry", *source[1:]) if again else source, agree))
    return tuple(found)


def _items(forward: Forward) -> list[tuple[Path, str]]:
    """The top-level results with the author's names for them, leaves or not."""
    function = forward.owner.methods[forward.method]
    returned = words.returned(function)
    if len(returned) > 1:
        inside = {k: words.names_packed(function, n) for k, n in enumerate(returned)}
        parts = [(("result", k, j), n) for k, names in inside.items() for j, n in enumerate(names)]
        return [*((("result", k), n) for k, n in enumerate(returned)), *((p, n) for p, n in parts if n and n not in returned)]
    return [(("result",), returned[0] if returned else "")]


_NEXT = re.compile(r"(next|new|out|cur|current)(?![a-z])", re.I)


def _held(handed: Mapping[str, str], name: str) -> list[tuple[Path, int]]:
    """What the author's own call of backward hands over from an attribute."""
    return [(("item", ("held", handed[name])), 1)] if name in handed and not words.COTANGENT.match(name) else []


def _choices(forward: Forward, method: str, name: str, items: Sequence[tuple[Path, str]], names: Sequence[str]) -> list[tuple[Path, int]]:
    if name in forward.owner.handed:
        return [(("weights",), 1)]
    if "params" in words.roles(name) and any(box not in names for box, names in forward.owner.handed.items()):
        return [(("weights",), 1)]
    exact: list[tuple[Path, int]] = [(("item", path), 1) for path, n in items if n == name]
    if exact:
        outside = any(words.COTANGENT.match(n) or "targets" in words.roles(n) for n in names)
        layout = None if outside else forward.leaves.get(exact[0][0][1])
        # where nothing else can be a gradient from outside, one under the name of what it is the gradient of may be meant
        return [*exact, *((("cotangent", exact[0][0][1], as_), 0) for as_ in cotangent_layouts(layout))] if layout else exact
    if name in forward.roles:
        role = forward.roles[name]
        # a step's backward may be handed the new h under the name that forward had for the old one, beside an old one under another name
        if role in ("h", "c") and forward.is_step:
            old_beside = any(n != name and words.is_previous(n) and role in words.roles(n) for n in names)
            new = [(("leaf", p), int(old_beside and role == words.state_of(forward.names.get(p, "")))) for p in forward.leaves]
            return sorted([(("arg", name), int(not old_beside)), *new], key=lambda r: -r[1])
        return [(("targets",), 1) if role == "targets" else (("arg", name), 1)]
    roles = words.roles(name)
    if "rate" in roles:
        return [(("rate",), 1)]
    if words.COTANGENT.match(name):
        stem = words.stem(name)
        ranked: list[tuple[Path, int]] = []
        many = len(stem) > 1 and stem.endswith("s") and not forward.is_step
        agreeing = {p for p in forward.leaves if _names_agree(stem, forward.names.get(p, "")) and (not many or forward.is_over_time(p))}
        agreeing |= {p for s, p in forward.finals.items() if forward.is_step and s in words.roles(stem)}
        if not agreeing:  # d_all_outputs, beside func_out and step_outputs
            ending = {p for p in forward.leaves if "_" in stem and forward.names.get(p, "").split("_")[-1] == stem.split("_")[-1]}
            agreeing = ending if len(ending) == 1 else set()
        if not agreeing:  # what is returned itself comes before what is in a tuple beside it
            agreeing = {p for p in forward.leaves if len(p) == min(map(len, forward.leaves)) < max(map(len, forward.leaves))}
        for p, layout in forward.leaves.items():
            ranked += [(("cotangent", p, as_), int(p in agreeing)) for as_ in cotangent_layouts(layout)] if layout else []
        held = [p for s, p in forward.finals.items() if p[0] == "held" and s in words.roles(stem) and p not in forward.leaves]
        ranked += [(("cotangent", p, forward.state), 1) for p in held]
        ranked += [(("tuple", parts), int(words.same(stem, n))) for n, parts in _tuples(forward, items)]
        if forward.is_step and "state" in forward.roles.values() and len(forward.finals) == 2:  # a pair in, a pair of gradients
            pair = tuple(("cotangent", forward.finals[s], forward.state) for s in "hc")
            ranked.append((("tuple", pair), int("state" in name.lower())))
        return sorted(ranked, key=lambda r: -r[1]) or [(("targets",), 0)]
    if words.CACHE.search(name):
        plain = [(("item", path), 0) for path, _ in items if path not in forward.leaves]
        named = [(("item", path), 1) for path, n in items if words.CACHE.search(n)]
        whole: list[tuple[Path, int]] = [(("item", ("result",)), 0)] if len(items) > 1 else []
        return [*([*named, *(p for p in plain if p[0] not in [n[0] for n in named])] or [(("item", path), 0) for path, _ in items]), *whole]
    alike = [(("item", path), 1) for path, n in items if words.same(n, name)]
    if not alike:  # 'probs' of 'output_probs'
        alike = [(("item", path), 1) for path, n in items if len(name) > 2 and (n.endswith(f"_{name}") or (name.endswith(f"_{n}") and n))]
    if alike:
        return alike
    if "targets" in roles:
        return [(("targets",), 1)]
    if "x" in roles or name in ("X_embedded",):
        return [(("arg", forward.input), 1)]
    for state in ("h", "c"):
        if state in roles and state in forward.roles.values():
            last = forward.finals.get(state) if forward.is_step else None
            after: list[tuple[Path, int]] = [(("leaf", p), 0) for p in ([last] if last else forward.leaves)]
            if words.is_squashed(forward.owner.methods[method], name) or _NEXT.search(name):
                return after
            arg = next(a for a, r in forward.roles.items() if r == state)
            below = [(("arg", a), 1) for a, r in forward.roles.items() if r == "x" and re.search(r"_(l|layer|below)$", name)]
            return [*below, (("arg", arg), int(not below and words.is_previous(name))), *after]
    size = next((r for r in roles if r in "TNDHO"), None)
    if size:
        return [(("size", size), 1)]
    if words.is_weight(name):
        return [(("weight", name), 1)]
    return [
        *((("item", p), 0) for p, _ in items),
        *((("cotangent", p, as_), 0) for p, layout in forward.leaves.items() if layout for as_ in cotangent_layouts(layout)),
        (("targets",), 0),
    ]


def _names_agree(stem: str, result: str) -> bool:
    return words.same(stem, result) or words.state_of(stem) == words.state_of(result) != ""


def _tuples(forward: Forward, items: Sequence[tuple[Path, str]]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The results that are tuples of arrays, as an LSTM's (h, c), by the author's names, and the cotangents of their parts."""
    for path, name in items:
        inside = [(p, layout) for p, layout in forward.leaves.items() if p[:-1] == path and layout]
        if len(inside) > 1:
            yield name, tuple(("cotangent", p, layout) for p, layout in inside)
