"""Mistakes in the backward pass of layers on top of each other and of both directions: what is handed on, to whom, in which order."""

from __future__ import annotations

from bptt.harness.known.mistake import KnownMistake, Need, of_stack

_START = "steps, top = tape.steps, len(stack.cells) - 1"
#: dL/dys of the outputs under a name that is not written over.
_KEPT = ((_START, f"{_START}\ngiven = dys"),)
_DFINAL = "dfinal_d = _of(dfinal, suffix)"
_DRS = "drs = _turned(steps, suffix, dys[:, :, start : start + width])"
_RECUR = "dqs, share, dstate = steps.backward_projected(stack.cells[k], _of(params, suffix), tapes_d, drs, dfinal_d)"
_DAXS = "daxs.append(_turned(steps, suffix, dqs))"
_DPARAMS = "dparams |= _named(share, suffix)"
_DSTATE = "dstate0 |= _named(dstate, suffix)"
_LAYER_END = "return dparams, tuple(daxs), dstate0"
_SHARE = "share, dxs_d = stack.cells[k].project_inputs_backward(_of(params, suffix), xs, daxs_d)"
_SUM = "return dparams, dxs[0] + dxs[1] if stack.bidirectional else dxs[0]"
_DYS = "dys = dropout_backward(tape.masks[k], dxs)"
_BELOW = "share, daxs, dstate0_k = _layer_backward(stack, k, params, steps, tape.tapes[k], dys, dfinal)"
_JOIN = "dstate0 = dstate0_k | dstate0"
_PARAMS = "dparams = summed(projected, dparams) | share"
_END = "return dparams, daxs, dstate0"
_TOP = "dparams, daxs, dstate0 = _layer_backward(stack, top, params, steps, tape.tapes[top], steps.pack(dys), dfinal)"
#: The other direction's suffix.
_OTHER = "other = stack.suffixes(k)[suffix == stack.suffixes(k)[0]]"
_REVERSE = "suffix.endswith(REVERSE)"


def _direction(name: str, before: str, after: str, sentence: str, fix: str, *needs: Need, found_by: str = "GRD110") -> KnownMistake:
    return of_stack(name, "_layer_backward", before, after, sentence, fix, ("directions", *needs), found_by)


def _inputs(name: str, before: str, after: str, sentence: str, fix: str, *needs: Need) -> KnownMistake:
    return of_stack(name, "_project_backward", before, after, sentence, fix, ("directions", *needs))


def _layers(name: str, before: str, after: str, sentence: str, fix: str, *needs: Need, found_by: str = "GRD110") -> KnownMistake:
    return of_stack(name, "_backward", before, after, sentence, fix, needs or ("layers",), found_by)


ORDER_OF_TIME = (
    _direction(
        "dys-not-reversed",
        _DRS,
        "drs = dys[:, :, start : start + width]",
        "the reverse direction gets the gradients of its outputs in the order of time, not from the end",
        "dys_reverse = dys[::-1, :, H:] before the reverse direction's own loop",
        found_by="GRD130",
    ),
    _direction(
        "daxs-not-reversed-back",
        _DAXS,
        "daxs.append(dqs)",
        "the gradient of the reverse direction's inputs is not turned back: dx of the last step goes to the first one",
        "dxs = dxs_forward + dxs_reverse[::-1]",
        found_by="GRD130",
    ),
    of_stack(
        "reverse-backward-in-order-of-time",
        "_layer_backward",
        _DRS,
        "drs = dys[:, :, start : start + width]",
        "the reverse direction goes back as if it read from the start: neither dys nor dxs is turned around",
        "reverse dys before the reverse direction's loop, and its dxs after it",
        ("directions",),
        "GRD130",
        also=((_DAXS, "daxs.append(dqs)"),),
    ),
    _direction(
        "dys-of-both-reversed",
        _DRS,
        "drs = steps.reverse(dys[:, :, start : start + width])",
        "dys is turned around for both directions, not for the reverse one alone",
        "dys_forward = dys[:, :, :H]; dys_reverse = dys[::-1, :, H:]",
        found_by="GRD130",
    ),
    _direction(
        "daxs-of-both-reversed",
        _DAXS,
        "daxs.append(steps.reverse(dqs))",
        "the gradients of both directions' inputs are turned around, not those of the reverse one alone",
        "dxs = dxs_forward + dxs_reverse[::-1]",
        found_by="GRD130",
    ),
    _direction(
        "dys-reversed-over-batch",
        _DRS,
        f"drs = dys[:, :, start : start + width][:, ::-1] if {_REVERSE} else dys[:, :, start : start + width]",
        "dys of the reverse direction is turned around along the batch and not along time",
        "flip the axis of time: dys[::-1], or torch.flip(dys, [0]) where time comes first",
    ),
    _direction(
        "daxs-reversed-over-batch",
        _DAXS,
        f"daxs.append(dqs[:, ::-1] if {_REVERSE} else dqs)",
        "dxs of the reverse direction is turned around along the batch and not along time",
        "flip the axis of time: dxs[::-1], or torch.flip(dxs, [0]) where time comes first",
    ),
    _direction(
        "reverse-off-by-one",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, start : start + width])\n"
        f"if {_REVERSE}:\n    drs = np.concatenate([drs[1:], np.zeros_like(drs[:1])])",
        "the reverse direction's gradients are one step off: step t gets dys[t - 1]",
        "dys[::-1][t] is dys[T - 1 - t], not dys[T - t]",
    ),
)

DIRECTIONS = (
    _direction(
        "dys-halves-swapped",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, width - start : 2 * width - start])",
        "each direction gets the half of dys that belongs to the other one",
        "dys_forward, dys_reverse = dys[:, :, :H], dys[:, :, H:]",
    ),
    _direction(
        "dys-first-half-for-both",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, :width])",
        "both directions get the first half of dys",
        "dys_reverse = dys[:, :, H:]",
    ),
    _direction(
        "dys-second-half-for-both",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, -width:])",
        "both directions get the second half of dys",
        "dys_forward = dys[:, :, :H]",
    ),
    _direction(
        "dys-halves-added",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, :width] + dys[:, :, -width:])",
        "both directions get the sum of the halves of dys, as if their outputs had been added and not set side by side",
        "dys_forward, dys_reverse = dys[:, :, :H], dys[:, :, H:]",
    ),
    _direction(
        "dys-halved",
        _DRS,
        "drs = 0.5 * _turned(steps, suffix, dys[:, :, start : start + width])",
        "dys is divided by the number of directions, as if their outputs had been averaged",
        "dys_forward, dys_reverse = dys[:, :, :H], dys[:, :, H:], without / 2",
    ),
    _direction(
        "dys-interleaved",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, start // width :: 2])",
        "dys is taken apart as (H, 2) and not as (2, H): every second column goes to each direction",
        "dys.reshape(T, N, 2, H)[:, :, d]",
    ),
    _direction(
        "dys-of-reverse-ignored",
        _DRS,
        f"drs = _turned(steps, suffix, dys[:, :, start : start + width])\nif {_REVERSE}:\n    drs = 0 * drs",
        "the reverse direction gets nothing of dys: only its final state's gradient reaches it",
        "run the reverse direction's backward on dys[::-1, :, H:]",
    ),
    _direction(
        "reverse-direction-forgotten",
        _LAYER_END,
        "lost = stack.suffixes(k)[1]\n"
        "return (\n"
        "    {name: 0 * d if name.endswith(lost) else d for name, d in dparams.items()},\n"
        "    (daxs[0], 0 * daxs[1]),\n"
        "    {name: 0 * d if name.endswith(lost) else d for name, d in dstate0.items()},\n"
        ")",
        "the reverse direction's gradients are never computed: they stay zero, and dxs has the forward direction's share alone",
        "run the backward pass of both directions, and add up dxs",
    ),
    _direction(
        "dparams-slots-swapped",
        _DPARAMS,
        f"{_OTHER}\ndparams |= _named(share, other)",
        "the recurrent weights' and biases' gradients of both directions are put in each other's slots",
        "grads[name + '_reverse'] are those of the reverse direction",
    ),
    _direction(
        "dparams-of-both-on-forward",
        _LAYER_END,
        "one, two = stack.suffixes(k)\n"
        "for name in list(dparams):\n"
        "    if name.endswith(two):\n"
        "        base = name.removesuffix(two)\n"
        "        dparams[base + one] = dparams[base + one] + dparams[name]\n"
        "        dparams[name] = 0 * dparams[name]\n"
        f"{_LAYER_END}",
        "both directions add their recurrent weights' gradients to the forward direction's, as if they shared one cell",
        "keep one dict of gradients for each direction",
    ),
    _direction(
        "dparams-of-forward-overwritten",
        _LAYER_END,
        "one, two = stack.suffixes(k)\n"
        "for name in list(dparams):\n"
        "    if name.endswith(two):\n"
        "        dparams[name.removesuffix(two) + one] = dparams[name]\n"
        f"{_LAYER_END}",
        "the reverse direction's recurrent gradients overwrite the forward direction's: both slots hold the same numbers",
        "keep one dict of gradients for each direction",
    ),
    _direction(
        "dparams-of-reverse-copied",
        _LAYER_END,
        "one, two = stack.suffixes(k)\n"
        "for name in list(dparams):\n"
        "    if name.endswith(two):\n"
        "        dparams[name] = dparams[name.removesuffix(two) + one]\n"
        f"{_LAYER_END}",
        "the forward direction's recurrent gradients are given for the reverse direction too",
        "grads_reverse = backward(params_reverse, ...), not those of the forward direction again",
    ),
    _direction(
        "reverse-uses-forward-weights",
        _RECUR,
        "dqs, share, dstate = steps.backward_projected(stack.cells[k], _of(params, stack.suffixes(k)[0]), tapes_d, drs, dfinal_d)",
        "the reverse direction goes back through the forward direction's recurrent weights",
        "dh_prev = da @ W_h_reverse.T in the reverse direction",
    ),
    _direction(
        "reverse-uses-forward-cache",
        _RECUR,
        "dqs, share, dstate = steps.backward_projected(stack.cells[k], _of(params, suffix), tapes[0], drs, dfinal_d)",
        "the reverse direction goes back with what the forward direction has kept",
        "keep a cache for each direction: self.cache_reverse",
    ),
    _direction(
        "forward-uses-reverse-cache",
        _RECUR,
        "dqs, share, dstate = steps.backward_projected(stack.cells[k], _of(params, suffix), tapes[1], drs, dfinal_d)",
        "the forward direction goes back with what the reverse direction has kept, which ran last",
        "keep a cache for each direction: self.cache_reverse",
    ),
    _direction(
        "dfinal-of-reverse-ignored",
        _DFINAL,
        f"dfinal_d = _of(dfinal, suffix)\nif {_REVERSE}:\n    dfinal_d = {{name: 0 * d for name, d in dfinal_d.items()}}",
        "the gradient of the reverse direction's final state is ignored",
        "dh_next = dfinal['h_reverse'] before the reverse direction's loop",
    ),
    _direction(
        "dfinal-of-directions-swapped",
        _DFINAL,
        f"{_OTHER}\ndfinal_d = _of(dfinal, other)",
        "each direction gets the gradient of the other one's final state",
        "h_n[0] is the forward direction's, h_n[1] the reverse one's",
    ),
    _direction(
        "dfinal-of-forward-for-both",
        _DFINAL,
        "dfinal_d = _of(dfinal, stack.suffixes(k)[0])",
        "both directions get the gradient of the forward direction's final state",
        "h_n[1] is the reverse direction's",
    ),
    _direction(
        "dfinal-of-reverse-at-other-end",
        _DRS,
        "drs = _turned(steps, suffix, dys[:, :, start : start + width])\n"
        f"if {_REVERSE}:\n"
        "    drs = drs.copy()\n"
        '    drs[0] += dfinal_d["h"]\n'
        '    dfinal_d = dfinal_d | {"h": 0 * dfinal_d["h"]}',
        "the gradient of the reverse direction's final h is added at step T - 1, where that direction starts, and not at step 0",
        "the reverse direction ends at step 0: dh_next = dfinal_h_reverse before a loop from step 0 to T - 1",
    ),
    _direction(
        "dstate0-of-directions-swapped",
        _DSTATE,
        f"{_OTHER}\ndstate0 |= _named(dstate, other)",
        "dL/dh_0 (and dL/dc_0) of both directions are put in each other's slots",
        "dh_0[0] is the forward direction's, dh_0[1] the reverse one's",
    ),
    _direction(
        "dstate0-of-reverse-zero",
        _DSTATE,
        f"dstate0 |= _named({{name: 0 * d for name, d in dstate.items()}} if {_REVERSE} else dstate, suffix)",
        "dL/dh_0 (and dL/dc_0) of the reverse direction is zero",
        "return the reverse direction's dh_prev after its last step too",
    ),
    _inputs(
        "dxs-of-reverse-lost",
        _SUM,
        "return dparams, dxs[0] + 0 * dxs[-1]",
        "dxs has the forward direction's share alone: the reverse one's is not added",
        "dxs = dxs_forward + dxs_reverse[::-1]",
    ),
    _inputs(
        "dxs-overwritten-by-reverse",
        _SUM,
        "return dparams, dxs[-1]",
        "the reverse direction's dxs overwrites the forward direction's in the place of being added",
        "dxs += dxs_reverse[::-1]",
    ),
    _inputs(
        "dxs-averaged",
        _SUM,
        "return dparams, (dxs[0] + dxs[-1]) / 2",
        "dxs is the mean of both directions' shares and not their sum",
        "dxs = dxs_forward + dxs_reverse[::-1], without / 2",
    ),
    _inputs(
        "dxs-of-reverse-turned-again",
        _SUM,
        "return dparams, dxs[0] + dxs[-1][::-1]",
        "dxs of the reverse direction is turned around once too often",
        "reverse it once: either in the direction's own loop or where both are added",
    ),
    _inputs(
        "dxs-subtracted",
        _SUM,
        "return dparams, dxs[0] - dxs[-1]",
        "the reverse direction's share of dxs is subtracted",
        "dxs = dxs_forward + dxs_reverse[::-1]",
    ),
    _inputs(
        "dxs-through-forward-weights",
        _SHARE,
        "share, _ = stack.cells[k].project_inputs_backward(_of(params, suffix), xs, daxs_d)\n"
        "_, dxs_d = stack.cells[k].project_inputs_backward(_of(params, stack.suffixes(k)[0]), xs, daxs_d)",
        "dxs of the reverse direction goes through the forward direction's W_x",
        "dxs_reverse = das @ W_x_reverse.T",
    ),
    _inputs(
        "dW_x-of-reverse-with-reversed-inputs",
        _SHARE,
        f"share, dxs_d = stack.cells[k].project_inputs_backward(_of(params, suffix), xs[::-1] if {_REVERSE} else xs, daxs_d)",
        "dL/dW_x of the reverse direction pairs inputs and gradients of different steps: only one of them is turned around",
        "dW_x_reverse += xs[t].T @ da of the same step t",
    ),
    _inputs(
        "dW_x-slots-swapped",
        "dparams |= _named(share, suffix)",
        f"{_OTHER}\ndparams |= _named(share, other)",
        "dL/dW_x (and the biases of the projection) of both directions are put in each other's slots",
        "grads['W_x_reverse'] is that of the reverse direction",
    ),
    of_stack(
        "dparams-of-directions-all-swapped",
        "backward",
        "return {name: dparams[name] for name in params if name in dparams}, tape.steps.unpack(dxs), dstate0",
        "other = {name: name.removesuffix(REVERSE) if name.endswith(REVERSE) else name + REVERSE for name in params}\n"
        "return {name: dparams[other[name]] for name in params if name in dparams}, tape.steps.unpack(dxs), dstate0",
        "all gradients of both directions' parameters are put in each other's slots",
        "grads[name + '_reverse'] are those of the reverse direction",
        ("directions",),
    ),
)

BETWEEN_LAYERS = (
    _layers(
        "dxs-of-upper-layer-dropped",
        _DYS,
        "dys = 0 * dxs",
        "nothing goes from a layer to the one below: the lower layer gets its final state's gradient alone, as after a detach",
        "dys_below = dxs_above: hand dxs of each layer to the layer below it",
    ),
    _layers(
        "only-last-step-goes-down",
        _DYS,
        "dys = dropout_backward(tape.masks[k], dxs)\ndys = np.concatenate([0 * dys[:-1], dys[-1:]])",
        "only the last step's dx goes to the layer below, those of the earlier steps are lost",
        "dys_below[t] = dx_above of step t, in every step",
        found_by="GRD130",
    ),
    _layers(
        "dxs-one-step-late",
        _DYS,
        "dys = dropout_backward(tape.masks[k], dxs)\ndys = np.concatenate([dys[1:], 0 * dys[:1]])",
        "the layer below gets dx of the step after: step t gets that of t + 1",
        "dys_below[t] = dx_above of the same step t",
    ),
    _layers(
        "dxs-one-step-early",
        _DYS,
        "dys = dropout_backward(tape.masks[k], dxs)\ndys = np.concatenate([0 * dys[:1], dys[:-1]])",
        "the layer below gets dx of the step before: step t gets that of t - 1",
        "dys_below[t] = dx_above of the same step t",
    ),
    _layers(
        "dxs-in-reversed-time",
        _DYS,
        "dys = dropout_backward(tape.masks[k], dxs)[::-1]",
        "dxs is handed to the layer below from the last step to the first, as its loop has collected it",
        "dxs.reverse() after a loop from the last step to the first",
        found_by="GRD130",
    ),
    of_stack(
        "dys-of-top-added-below",
        "_backward",
        _DYS,
        "top_dys = steps.pack(given)\ndys = dropout_backward(tape.masks[k], dxs) + top_dys[:, :, : dxs.shape[2]]",
        "dL/dys of the stack's outputs is added to the lower layers' too, which are no outputs",
        "dys_below = dxs_above, nothing else",
        ("layers",),
        also=_KEPT,
    ),
    of_stack(
        "dys-of-top-in-every-layer",
        "_backward",
        _DYS,
        "dys = steps.pack(given)[:, :, : dxs.shape[2]]",
        "every layer gets dL/dys of the stack's outputs, in the place of dxs of the layer above it",
        "dys_below = dxs_above",
        ("layers",),
        also=_KEPT,
    ),
    _layers(
        "dxs-scaled-by-layers",
        _DYS,
        "dys = dropout_backward(tape.masks[k], dxs) / len(stack.cells)",
        "dxs is divided by the number of layers on its way down",
        "dys_below = dxs_above, without a factor",
    ),
    _layers(
        "dxs-averaged-over-batch",
        _DYS,
        "dys = dropout_backward(tape.masks[k], dxs) / steps.N",
        "dxs is divided by the batch size once more in each layer",
        "divide the loss by N once, at its start",
    ),
    _layers(
        "dW_x-of-upper-layers-zero",
        _PARAMS,
        "dparams = summed({name: 0 * d for name, d in projected.items()}, dparams) | share",
        "dL/dW_x of the layers above the bottom one stays zero",
        "dW_x += xs_k.T @ da with the inputs of that layer, hs of the one below",
    ),
    _layers(
        "dW_x-with-bottom-inputs",
        "tape.inputs[k], daxs)",
        "tape.inputs[0], daxs)",
        "dL/dW_x of every upper layer is made with the inputs of layer 1",
        "dW_x += xs_k.T @ da with the inputs of layer k itself",
        "three layers",
    ),
    _layers(
        "dW_x-with-inputs-of-next-layer",
        "tape.inputs[k], daxs)",
        "tape.inputs[min(k + 1, top - 1)], daxs)",
        "dL/dW_x of a layer is made with its own outputs and not with its inputs",
        "dW_x += xs_k.T @ da with hs of the layer below",
        "three layers",
    ),
    _layers(
        "layers-walked-upwards",
        "for k in reversed(range(top)):",
        "for k in range(top):",
        "the layers below the top are walked from the bottom up in the backward pass",
        "for k in reversed(range(L)):",
        "three layers",
    ),
    _layers(
        "last-layers-dstate0-for-all",
        _JOIN,
        "dstate0 = {name: dstate0[name.replace(f'_l{k}', f'_l{k + 1}')] for name in dstate0_k} | dstate0",
        "dL/dh_0 of every layer is that of the top one: it is overwritten and not kept for each layer",
        "dh_0[k] = dh_prev of layer k",
    ),
    _layers(
        "dstate0-of-lower-layers-zero",
        _JOIN,
        "dstate0 = {name: 0 * d for name, d in dstate0_k.items()} | dstate0",
        "dL/dh_0 is given for the top layer alone, it is zero for the ones below",
        "dh_0[k] = dh_prev of layer k, for every k",
    ),
    _layers(
        "dstate0-of-layers-in-reversed-order",
        _END,
        "turned = {name: name.replace(f'_l{k}', f'_l{top - k}') for k in range(top + 1) for name in dstate0 if f'_l{k}' in name}\n"
        "dstate0 = {turned[name]: d for name, d in dstate0.items()}\n"
        f"{_END}",
        "dL/dh_0 is collected from the top layer down and not turned around: the layers' slots are in reversed order",
        "dh_0.reverse() after a loop over the layers from the top down, or dh_0[k] = ...",
    ),
    _layers(
        "dfinal-of-lower-layers-ignored",
        _BELOW,
        "share, daxs, dstate0_k = _layer_backward("
        "stack, k, params, steps, tape.tapes[k], dys, {name: 0 * d for name, d in dfinal.items()})",
        "the gradient of the final state is used in the top layer alone",
        "dh_next = dfinal[k] in every layer k",
    ),
    _layers(
        "dfinal-of-layers-in-reversed-order",
        "steps, top = tape.steps, len(stack.cells) - 1",
        "steps, top = tape.steps, len(stack.cells) - 1\n"
        "turned = {name: name.replace(f'_l{k}', f'_l{top - k}') for k in range(top + 1) for name in dfinal if f'_l{k}' in name}\n"
        "dfinal = {turned[name]: d for name, d in dfinal.items()}",
        "the final states' gradients are given to the layers in reversed order",
        "dfinal[k] belongs to layer k, the bottom one first",
    ),
    _layers(
        "dfinal-of-top-for-all",
        _BELOW,
        "dfinal = dfinal | {name: dfinal[name.replace(f'_l{k}', f'_l{top}')] for name in dfinal if f'_l{k}' in name}\n" + _BELOW,
        "every layer gets the gradient of the top layer's final state",
        "dh_next = dfinal[k] in layer k",
    ),
    _layers(
        "dfinal-from-layer-above",
        _BELOW,
        "dfinal = dfinal | {name: dstate0[name.replace(f'_l{k}', f'_l{k + 1}')] for name in dfinal if f'_l{k}' in name}\n" + _BELOW,
        "dh_next is not set anew between layers: a layer starts with what is left of dh_next from the layer above",
        "dh_next = dfinal[k] before each layer's loop",
    ),
    _layers(
        "dfinal-of-top-ignored",
        _TOP,
        "dparams, daxs, dstate0 = _layer_backward("
        "stack, top, params, steps, tape.tapes[top], steps.pack(dys), {name: 0 * d for name, d in dfinal.items()})",
        "the gradient of the top layer's final state is ignored",
        "dh_next = dfinal[-1] before the top layer's loop",
    ),
    of_stack(
        "upper-layer-uses-bottom-weights",
        "_layer_backward",
        _RECUR,
        "dqs, share, dstate = steps.backward_projected("
        "stack.cells[k], _of(params, suffix.replace(f'_l{k}', '_l0')), tapes_d, drs, dfinal_d)",
        "the upper layers go back through the bottom layer's recurrent weights",
        "dh_prev = da @ W_h[k].T in layer k",
        ("layers",),
    ),
    of_stack(
        "lower-layer-uses-cache-of-top",
        "_backward",
        _BELOW,
        "share, daxs, dstate0_k = _layer_backward(stack, k, params, steps, tape.tapes[top], dys, dfinal)",
        "the lower layers go back with what the top layer has kept, which ran last",
        "keep a cache for each layer: caches[k]",
        ("layers",),
    ),
    _layers(
        "recurrent-dparams-of-lower-layers-zero",
        _PARAMS,
        "dparams = summed(projected, dparams) | {name: 0 * d for name, d in share.items()}",
        "the lower layers' recurrent weights and biases get no gradient",
        "dW_h[k] += h_prev.T @ da in every layer k",
    ),
)

BUGS: tuple[KnownMistake, ...] = (*ORDER_OF_TIME, *DIRECTIONS, *BETWEEN_LAYERS)
