"""Mistakes where each sequence of a batch has its own length: sorting, ends, padding."""

from __future__ import annotations

from typing import Literal

from bptt.harness.known.mistake import KnownMistake, Need, of_stack

_ENTER = "dstate = {name: d[self.order] for name, d in dfinal.items()}"
_DEND = "return daxs, unroll.gathered(recurrent, shares[::-1]), self._unsorted(dstate)"
_START = "state = {name: s[self.order] for name, s in state.items()}"
_STEP = "state = {name: np.concatenate([moved[name], s[n:]]) for name, s in state.items()}"
_END = "return ys, self._unsorted(state), tapes"
_DAXS = "daxs.append(_turned(steps, suffix, dqs))"
_DRS = "drs = _turned(steps, suffix, dys[:, :, start : start + width])"
_REVERSE = "suffix.endswith(REVERSE)"
_LAYOUT = "steps = layout(lengths, *xs.shape[:2])"
_BACK = "return {name: dparams[name] for name in params if name in dparams}, tape.steps.unpack(dxs), dstate0"
_DXS = "dxs = tape.steps.unpack(dxs)\n"
_RETURN = "return {name: dparams[name] for name in params if name in dparams}, dxs, dstate0"


def _module(function: str) -> Literal["stack", "lengths"]:
    return "lengths" if function.startswith("Packed") or function == "layout" else "stack"


#: All steps turned around at once: of packed sequences (1, steps, ...), and of whole ones (T, N, ...), where that is right.
_AS_A_WHOLE = "({0}[:, ::-1] if hasattr(steps, 'mirror') else {0}[::-1])"


def _back(
    name: str, before: str, after: str, sentence: str, fix: str, *needs: Need, function: str = "Packed.backward_projected"
) -> KnownMistake:
    return of_stack(name, function, before, after, sentence, fix, ("lengths", *needs), "LEN130", module=_module(function))


def _ahead(
    name: str,
    before: str,
    after: str,
    sentence: str,
    fix: str,
    *needs: Need,
    function: str = "Packed.forward_projected",
    by: str = "LEN120",
) -> KnownMistake:
    return of_stack(name, function, before, after, sentence, fix, ("lengths", *needs), by, "forward", module=_module(function))


BACKWARD = (
    _back(
        "dfinal-at-last-step-only",
        _ENTER,
        f"{_ENTER}\nreach = np.arange(self.N)[:, None] < self.counts[-1]\ndstate = {{name: d * reach for name, d in dstate.items()}}",
        "the gradient of the final state enters at step T - 1 alone: sequences that have ended before get none",
        "dstate of row n enters at step lengths[n] - 1",
    ),
    _back(
        "dstate0-in-sorted-order",
        _DEND,
        "return daxs, unroll.gathered(recurrent, shares[::-1]), dstate",
        "dL/dh_0 is left in the order of lengths in which the batch was sorted",
        "dh_0 = dh_0[inverse of the order]",
    ),
    _back(
        "dfinal-not-sorted",
        _ENTER,
        "dstate = dict(dfinal)",
        "the gradient of the final state is not sorted as the batch was",
        "dstate = dfinal[order]",
    ),
    _back(
        "dstate-unsorted-by-order",
        _DEND,
        "return daxs, unroll.gathered(recurrent, shares[::-1]), {name: s[self.order] for name, s in dstate.items()}",
        "dL/dh_0 is put back with the order itself and not with its inverse",
        "dh_0[order] = dh_0_sorted, or dh_0_sorted[np.argsort(order)]",
    ),
    _back(
        "dxs-in-sorted-order",
        _BACK,
        "dxs = tape.steps.unpack(dxs)[:, getattr(tape.steps, 'order', slice(None))]\n" + _RETURN,
        "dxs is left in the order of lengths in which the batch was sorted",
        "dxs = dxs[:, inverse of the order]",
        function="backward",
    ),
    _back(
        "dxs-of-last-step-in-padding",
        _BACK,
        _DXS + "ends = getattr(tape.steps, 'order', None)\n"
        "if ends is not None:\n"
        "    lengths = np.bincount(tape.steps.n, minlength=tape.steps.N)\n"
        "    for n, length in enumerate(lengths):\n"
        "        if length:\n"
        "            dxs[length:, n] = dxs[length - 1, n]\n" + _RETURN,
        "padding gets a gradient: dx of the last valid step goes on through it",
        "dxs = dxs * valid[:, :, None]",
        function="backward",
    ),
    _back(
        "dxs-averaged-over-length",
        _BACK,
        "dxs = tape.steps.unpack(dxs)\n"
        "if hasattr(tape.steps, 'order'):\n"
        "    dxs = dxs / np.maximum(np.bincount(tape.steps.n, minlength=tape.steps.N), 1)[:, None]\n" + _RETURN,
        "dxs of each sequence is divided by its length",
        "dxs without a factor: divide the loss by the number of valid steps once, at its start",
        function="backward",
    ),
    _back(
        "daxs-reversed-over-all-steps",
        _DAXS,
        f"daxs.append({_AS_A_WHOLE.format('dqs')} if {_REVERSE} else dqs)",
        "the gradient of the reverse direction's inputs is turned around as a whole, not each sequence over its own length",
        "reverse the first lengths[n] steps of each row n",
        "directions",
        function="_layer_backward",
    ),
    _back(
        "dys-reversed-over-all-steps",
        _DRS,
        f"drs = dys[:, :, start : start + width]\ndrs = {_AS_A_WHOLE.format('drs')} if {_REVERSE} else drs",
        "dys of the reverse direction is turned around as a whole, not each sequence over its own length",
        "reverse the first lengths[n] steps of each row n",
        "directions",
        function="_layer_backward",
    ),
    _back(
        "daxs-reversed-from-padding",
        _DAXS,
        f"whole = layout(None, steps.T, steps.N)\ndaxs.append(steps.pack(whole.reverse(steps.unpack(dqs))) if {_REVERSE} else dqs)",
        "the gradient of the reverse direction's inputs is turned around over all T steps: a part of it lands in the padding",
        "reverse the first lengths[n] steps of each row n",
        "directions",
        function="_layer_backward",
    ),
    _back(
        "dys-reversed-from-padding",
        _DRS,
        "whole = layout(None, steps.T, steps.N)\n"
        "drs = dys[:, :, start : start + width]\n"
        f"drs = steps.pack(whole.reverse(steps.unpack(drs))) if {_REVERSE} else drs",
        "dys of the reverse direction is turned around over all T steps: it starts with the gradients of the padding",
        "reverse the first lengths[n] steps of each row n",
        "directions",
        function="_layer_backward",
    ),
)

_MASKED = (
    "ys, final, tape = _forward(stack, params, steps, xs, _project(stack, 0, params, xs), state, masks)\n"
    "valid = layout(lengths, *xs.shape[:2])\n"
    "return valid.unpack(valid.pack(ys)), final, tape"
)
_CALL = "return _forward(stack, params, steps, xs, _project(stack, 0, params, xs), state, masks)"

FORWARD = (
    of_stack(
        "padding-is-read",
        "forward",
        _LAYOUT,
        "steps = layout(None, *xs.shape[:2])",
        "the lengths only zero the outputs: states go on through the padding, and the reverse direction starts in it",
        "state = np.where(t < lengths[:, None], new, old) at every step",
        ("lengths",),
        "LEN110",
        "forward",
        also=((_CALL, _MASKED),),
    ),
    of_stack(
        "reverse-starts-in-padding",
        "_layer",
        "rs, final_d, tapes_d = steps.forward_projected(stack.cells[k], _of(params, suffix), qs, _of(state, suffix))",
        "if suffix.endswith(REVERSE):\n"
        "    own, whole = _of(params, suffix), layout(None, steps.T, steps.N)\n"
        '    rest = stack.cells[k].project_inputs(own, np.zeros((1, 1, own["W_x"].shape[0]), qs.dtype))\n'
        "    qs = whole.reverse(steps.unpack(axs_d - rest) + rest)\n"
        "    rs, final_d, _ = whole.forward_projected(stack.cells[k], own, qs, _of(state, suffix))\n"
        "    _, _, tapes_d = steps.forward_projected(stack.cells[k], own, steps.reverse(axs_d), _of(state, suffix))\n"
        "    rs = steps.reverse(steps.pack(whole.reverse(rs)))\n"
        "else:\n"
        "    rs, final_d, tapes_d = steps.forward_projected(stack.cells[k], _of(params, suffix), qs, _of(state, suffix))",
        "the reverse direction starts at step T - 1, in the padding, and comes to the valid steps with a state made of zeros",
        "reverse the first lengths[n] steps of each row n, and leave the padding at the end",
        ("lengths", "directions"),
        "LEN120",
        "forward",
    ),
    _ahead(
        "final-state-of-ended-rows-zero",
        _STEP,
        "state = {name: np.concatenate([moved[name], 0 * s[n:]]) for name, s in state.items()}",
        "the final state is taken at step T - 1, where the outputs of shorter sequences are zero",
        "h_n[n] = hs[lengths[n] - 1, n]",
    ),
    _ahead(
        "final-state-in-sorted-order",
        _END,
        "return ys, state, tapes",
        "the final state is left in the order of lengths in which the batch was sorted",
        "h_n = h_n[inverse of the order]",
    ),
    _ahead(
        "final-state-unsorted-by-order",
        _END,
        "return ys, {name: s[self.order] for name, s in state.items()}, tapes",
        "the final state is put back with the order itself and not with its inverse",
        "h_n[order] = h_n_sorted, or h_n_sorted[np.argsort(order)]",
    ),
    _ahead(
        "initial-state-not-sorted",
        _START,
        "state = dict(state)",
        "the initial state is not sorted as the batch was: rows start from each other's state",
        "h = h_0[order]",
    ),
    _ahead(
        "outputs-in-sorted-order",
        "xs[self.t, self.n] = rows[0]",
        "xs[self.t, np.argsort(self.order)[self.n]] = rows[0]",
        "outputs are left in the order of lengths in which the batch was sorted",
        "ys = ys[:, inverse of the order]",
        function="Packed.unpack",
    ),
    _ahead(
        "lengths-of-first-row-for-all",
        "lengths = lengths.astype(np.intp)",
        "lengths = np.full_like(lengths, lengths[0]).astype(np.intp)\nvalid = valid_steps(lengths, T, N)",
        "the first row's length is used for all rows: the mask is one number a step",
        "a mask of shape (T, N)",
        function="layout",
        by="LEN110",
    ),
    _ahead(
        "lengths-one-too-short",
        "lengths = lengths.astype(np.intp)",
        "lengths = np.maximum(lengths - 1, 0).astype(np.intp)\nvalid = valid_steps(lengths, T, N)",
        "the last valid step of each sequence is taken for padding",
        "valid = t < lengths, not t < lengths - 1",
        function="layout",
        by="LEN100",
    ),
    _ahead(
        "lengths-one-too-long",
        "lengths = lengths.astype(np.intp)",
        "lengths = np.minimum(lengths + 1, T).astype(np.intp)\nvalid = valid_steps(lengths, T, N)",
        "the first step of padding is taken for a valid one",
        "valid = t < lengths, not t <= lengths",
        function="layout",
        by="LEN110",
    ),
    _ahead(
        "reverse-off-by-one-at-the-end",
        "return Packed(T, N, order, counts, t, n, packed[lengths[n] - 1 - t, n])",
        "return Packed(T, N, order, counts, t, n, packed[np.maximum(lengths[n] - 2 - t, 0), n])",
        "the reverse direction starts one step before the last valid one",
        "xs[lengths[n] - 1 - t], not xs[lengths[n] - 2 - t]",
        "directions",
        function="layout",
    ),
    _ahead(
        "rows-reversed-as-a-whole",
        "return rows[:, self.mirror]",
        "return rows[:, ::-1]",
        "the packed steps of all sequences are turned around as a whole, not each sequence over its own length",
        "reverse the first lengths[n] steps of each row n",
        "directions",
        function="Packed.reverse",
    ),
    _ahead(
        "outputs-held-in-padding",
        "xs[self.t, self.n] = rows[0]",
        "xs[self.t, self.n] = rows[0]\n"
        "for n, length in enumerate(np.bincount(self.n, minlength=self.N)):\n"
        "    if length:\n"
        "        xs[length:, n] = xs[length - 1, n]",
        "outputs at padding are the last valid output again, not zero",
        "ys = ys * valid[:, :, None], or let the loss not read them",
        function="Packed.unpack",
        by="",
    ),
)

BUGS: tuple[KnownMistake, ...] = (*BACKWARD, *FORWARD)
