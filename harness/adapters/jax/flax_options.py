"""Flax's RNN and Bidirectional under every combination of what their calls take, beside their own plain calls on the same numbers.

reverse       = a plain call on the valid part turned around, outputs in that order; turned back where keep_order is set
seq_lengths   = a plain call on each row's valid part alone; what stands behind it is nobody's business
time_major    = the same with two axes exchanged;   no initial_carry = that of the cell;   return_carry takes the carry away alone
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bptt.harness.adapters.jax.run import compiled
from bptt.harness.subject import Array, Pair

_LENGTHS = (4, 2, 1)
_FLAGS = ("reverse", "keep_order", "time_major")
VARIED = frozenset((*_FLAGS, "return_carry", "unroll", "seq_lengths", "initial_carry"))


def combinations(
    call: Callable[..., Any], params: Any, carry: Any, own: dict[str, bool], D: int
) -> Callable[[np.random.Generator], Iterator[Pair]]:
    """call(params, xs, **options) -> (carry, ys);   carry: one for as many rows as there are lengths;   own: the flags of the object"""
    N, T = len(_LENGTHS), max(_LENGTHS)

    @compiled
    def plain(xs: Any, first: Any) -> tuple[Any, Any]:
        given = {} if first is None else {"initial_carry": first}
        return call(params, xs, return_carry=True, **dict.fromkeys(own, False), **given)  # type: ignore[no-any-return]  # Flax's own

    def both(name: str) -> tuple[bool, ...]:
        return (False, True) if name in own else (False,)

    def pairs(rng: np.random.Generator) -> Iterator[Pair]:
        xs = rng.normal(size=(N, T, D)).astype(np.float32)
        firsts = [
            ("", None),
            (", initial_carry", jax.tree_util.tree_map(lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype), carry)),
        ]
        for (with_carry, first), lengths, turned in itertools.product(firsts, (None, _LENGTHS), both("reverse")):
            rows = [_row(plain, xs, first, n, L, turned) for n, L in enumerate(lengths or (T,) * N)]
            for keep, major in itertools.product(both("keep_order"), both("time_major")):
                flags = {name: on for name, on in zip(_FLAGS, (turned, keep, major), strict=True) if name in own}
                said = ", ".join(f"{name}=True" for name, on in flags.items() if on) or "no option"
                words = f"{said}{with_carry}{', seq_lengths' if lengths else ''}"
                given = ({} if first is None else {"initial_carry": first}) | ({"seq_lengths": jnp.asarray(lengths)} if lengths else {})
                here, inputs = own == flags, jnp.asarray(xs.swapaxes(0, 1) if major else xs)
                try:
                    final, ys = call(params, inputs, return_carry=True, **flags, **given)
                    alone = call(params, inputs, return_carry=False, **flags, **given) if here else ys
                except Exception as error:  # the layer's own code may raise whatever it raises
                    said = (str(error).strip().splitlines() or [""])[0]
                    yield Pair(words, "", np.zeros(0), np.zeros(0), here, f"{type(error).__name__}: {said}")
                    continue
                yield Pair(
                    f"{words}, return_carry=False", "ys", np.asarray(alone), np.asarray(ys), here, than="those with return_carry=True"
                )
                got = np.asarray(ys).swapaxes(0, 1) if major else np.asarray(ys)
                for n, (L, (expected_final, expected)) in enumerate(zip(lengths or (T,) * N, rows, strict=True)):
                    yield Pair(words, "ys", got[n, :L], expected[::-1] if turned and keep else expected, here)
                    mine = [np.asarray(leaf)[n] for leaf in jax.tree_util.tree_leaves(final)]
                    for k, (a, b) in enumerate(zip(mine, expected_final, strict=True)):
                        yield Pair(words, f"final state {k}", a, b, here)

    return pairs


def _row(plain: Callable[..., tuple[Any, Any]], xs: Array, first: Any, n: int, L: int, turned: bool) -> tuple[list[Array], Array]:
    """One row alone, its valid part, in the order in which the layer goes through it."""
    part = xs[n : n + 1, :L]
    own = None if first is None else jax.tree_util.tree_map(lambda x: x[n : n + 1], first)
    final, ys = plain(part[:, ::-1] if turned else part, own)
    return [np.asarray(leaf)[0] for leaf in jax.tree_util.tree_leaves(final)], np.asarray(ys)[0]
