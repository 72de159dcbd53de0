"""Mistakes in the forward pass of layers on top of each other and of both directions, and conventions that look like one."""

from __future__ import annotations

from bptt.harness.known.mistake import KnownMistake, Need, of_stack

_QS = "qs = _turned(steps, suffix, axs_d)"
_RUN = "rs, final_d, tapes_d = steps.forward_projected(stack.cells[k], _of(params, suffix), qs, _of(state, suffix))"
_OUT = "outputs.append(_turned(steps, suffix, rs))"
_FINAL = "final |= _named(final_d, suffix)"
_SIDES = "return np.concatenate(outputs, axis=2) if stack.bidirectional else outputs[0], final, tuple(tapes)"
_LAYER = "ys, final_k, tapes_k = _layer(stack, k, params, steps, _project(stack, k, params, xs_k), state)"
_REVERSE = "suffix.endswith(REVERSE)"
_RETURN = "return steps.unpack(ys), final, StackTape(steps, xs, tuple(inputs), tuple(masks), tuple(tapes))"


def _run(state: str, params: str = "_of(params, suffix)") -> str:
    return f"rs, final_d, tapes_d = steps.forward_projected(stack.cells[k], {params}, qs, {state})"


def _bug(
    name: str, before: str, after: str, sentence: str, fix: str, *needs: Need, function: str = "_layer", published: str = ""
) -> KnownMistake:
    return of_stack(name, function, before, after, sentence, fix, needs, "", "forward", published=published)


BUGS: tuple[KnownMistake, ...] = (
    _bug(
        "reverse-outputs-not-turned-back",
        _OUT,
        "outputs.append(rs)",
        "the reverse direction's outputs stand in the order in which it has read, not in that of time",
        "ys_reverse = np.stack(outputs)[::-1]",
        "directions",
    ),
    _bug(
        "reverse-reads-from-the-start",
        _QS,
        "qs = axs_d",
        "the reverse direction is given the sequence unreversed; its outputs are turned around all the same",
        "run the reverse direction over xs[::-1]",
        "directions",
    ),
    of_stack(
        "both-read-from-the-start",
        "_layer",
        _QS,
        "qs = axs_d",
        "both directions read from the start: nothing is reversed",
        "run the reverse direction over xs[::-1], and reverse its outputs",
        ("directions",),
        "",
        "forward",
        also=((_OUT, "outputs.append(rs)"),),
    ),
    _bug(
        "reversed-over-batch",
        _QS,
        f"qs = axs_d[:, ::-1] if {_REVERSE} else axs_d",
        "the sequence is turned around along the batch and not along time before the reverse direction reads it",
        "flip the axis of time: xs[::-1], or torch.flip(xs, [0]) where time comes first",
        "directions",
    ),
    _bug(
        "outputs-reverse-first",
        _SIDES,
        "return np.concatenate(outputs[::-1], axis=2) if stack.bidirectional else outputs[0], final, tuple(tapes)",
        "the outputs are [reverse, forward] side by side, not [forward, reverse]",
        "np.concatenate([ys_forward, ys_reverse], axis=-1)",
        "directions",
    ),
    _bug(
        "outputs-interleaved",
        _SIDES,
        "return np.stack(outputs, axis=3).reshape(*outputs[0].shape[:2], -1) if stack.bidirectional else outputs[0], final, tuple(tapes)",
        "the outputs of both directions are interleaved unit by unit, not side by side",
        "np.concatenate([ys_forward, ys_reverse], axis=-1)",
        "directions",
    ),
    _bug(
        "final-of-reverse-at-last-step",
        _FINAL,
        f'final |= _named(final_d | {{"h": rs[0]}} if {_REVERSE} else final_d, suffix)',
        "the final h of the reverse direction is its output at step T - 1, where it has read one step only",
        "h_n of the reverse direction is its output at step 0",
        "directions",
    ),
    _bug(
        "final-states-of-directions-swapped",
        _FINAL,
        "final |= _named(final_d, stack.suffixes(k)[suffix == stack.suffixes(k)[0]])",
        "the final states of both directions are put in each other's slots",
        "h_n[0] is the forward direction's, h_n[1] the reverse one's",
        "directions",
    ),
    _bug(
        "initial-states-of-directions-swapped",
        _RUN,
        _run("_of(state, stack.suffixes(k)[suffix == stack.suffixes(k)[0]])"),
        "each direction starts from the other one's initial state",
        "h_0[0] is the forward direction's, h_0[1] the reverse one's",
        "directions",
    ),
    _bug(
        "reverse-starts-from-forward-state",
        _RUN,
        _run("_of(state, stack.suffixes(k)[0])"),
        "both directions start from the forward direction's initial state",
        "h_0[1] is the reverse direction's",
        "directions",
    ),
    _bug(
        "reverse-starts-where-forward-ended",
        _RUN,
        _run(f"_of(final, stack.suffixes(k)[0]) if {_REVERSE} else _of(state, suffix)"),
        "the reverse direction starts from the forward direction's final state",
        "h = h_0_reverse before the reverse direction's loop",
        "directions",
    ),
    _bug(
        "reverse-starts-from-zero",
        _RUN,
        _run(f"{{name: 0 * s if {_REVERSE} else s for name, s in _of(state, suffix).items()}}"),
        "the reverse direction starts from zero, whatever state is handed in",
        "h = h_0_reverse before the reverse direction's loop",
        "directions",
    ),
    _bug(
        "forward-weights-in-both",
        _RUN,
        _run("_of(state, suffix)", "_of(params, stack.suffixes(k)[0])"),
        "both directions use the forward direction's recurrent weights",
        "W_h_reverse in the reverse direction",
        "directions",
    ),
    _bug(
        "forward-W_x-in-both",
        "return tuple(stack.cells[k].project_inputs(_of(params, suffix), xs) for suffix in stack.suffixes(k))",
        "return tuple(stack.cells[k].project_inputs(_of(params, stack.suffixes(k)[0]), xs) for suffix in stack.suffixes(k))",
        "both directions use the forward direction's input weights",
        "W_x_reverse in the reverse direction",
        "directions",
        function="_project",
    ),
    _bug(
        "upper-layer-starts-where-lower-ended",
        _LAYER,
        "state = dict(state) | {name.replace(f'_l{k - 1}', f'_l{k}'): s for name, s in final.items() if f'_l{k - 1}' in name}\n" + _LAYER,
        "a layer starts from the final state of the layer below, not from its own initial state",
        "h = h_0[k] before layer k's loop",
        "layers",
        function="_forward",
    ),
    _bug(
        "upper-layers-start-from-state-of-bottom",
        _RUN,
        _run("_of(state, suffix.replace(f'_l{k}', '_l0'))"),
        "every layer starts from the bottom layer's initial state",
        "h = h_0[k] before layer k's loop",
        "layers",
    ),
    _bug(
        "upper-layers-start-from-zero",
        _RUN,
        _run("{name: 0 * s if k else s for name, s in _of(state, suffix).items()}"),
        "the layers above the bottom one start from zero, whatever state is handed in",
        "h = h_0[k] before layer k's loop",
        "layers",
    ),
    _bug(
        "initial-states-of-layers-reversed",
        _RUN,
        _run("_of(state, suffix.replace(f'_l{k}', f'_l{len(stack.cells) - 1 - k}'))"),
        "the initial states are given to the layers in reversed order",
        "h_0[k] belongs to layer k, the bottom one first",
        "layers",
    ),
    _bug(
        "final-states-of-layers-reversed",
        _RETURN,
        "top = len(stack.cells) - 1\n"
        "turned = {name: name.replace(f'_l{k}', f'_l{top - k}') for k in range(top + 1) for name in final if f'_l{k}' in name}\n"
        "final = {name: final[turned[name]] for name in final}\n" + _RETURN,
        "the final states of the layers are in reversed order",
        "h_n[k] is that of layer k, the bottom one first",
        "layers",
        function="_forward",
    ),
    _bug(
        "final-state-of-top-for-all",
        _RETURN,
        "top = len(stack.cells) - 1\n"
        "turned = {name: name.replace(f'_l{k}', f'_l{top}') for k in range(top + 1) for name in final if f'_l{k}' in name}\n"
        "final = {name: final[turned[name]] for name in final}\n" + _RETURN,
        "the top layer's final state is given for every layer",
        "h_n[k] is that of layer k",
        "layers",
        function="_forward",
    ),
    _bug(
        "upper-layer-uses-bottom-W_h",
        _RUN,
        _run("_of(state, suffix)", "_of(params, suffix.replace(f'_l{k}', '_l0'))"),
        "every layer uses the bottom layer's recurrent weights",
        "W_h[k] in layer k",
        "layers",
    ),
    _bug(
        "upper-layer-reads-one-step-late",
        "xs_k = dropout(ys, mask)",
        "xs_k = dropout(np.concatenate([0 * ys[:1], ys[:-1]]), mask)",
        "a layer reads the output of the layer below of the step before: h_(t-1) and not h_t",
        "x of layer k at step t is h_t of layer k - 1",
        "layers",
        function="_forward",
        published="the layers of a clockwork pipeline are one step apart",
    ),
    _bug(
        "residual-around-upper-layers",
        _LAYER,
        f"{_LAYER}\nys = ys + xs_k",
        "the inputs of each upper layer are added to its outputs",
        "ys = hs of the layer, without its inputs",
        "layers",
        function="_forward",
        published="residual connections, Wu et al. 2016",
    ),
)
