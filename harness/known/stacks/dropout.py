"""Mistakes in the dropout between layers: the mask and its scale, forward and backward."""

from __future__ import annotations

from bptt.harness.known.mistake import KnownMistake, Need, of_stack

_DYS = "dys = dropout_backward(tape.masks[k], dxs)"
_XS = "xs_k = dropout(ys, mask)"
_MASK = "mask = _packed(given[k - 1], k - 1, steps, ys.shape[2])"
_KEEP = "keep = 1 if tape.masks[k] is None else 1 / tape.masks[k].max()"


def _back(name: str, after: str, sentence: str, fix: str, *needs: Need) -> KnownMistake:
    return of_stack(name, "_backward", _DYS, after, sentence, fix, ("layers", "masks", *needs), "")


def _ahead(name: str, before: str, after: str, sentence: str, fix: str, *needs: Need, published: str = "") -> KnownMistake:
    return of_stack(name, "_forward", before, after, sentence, fix, ("layers", "masks", *needs), "OPT100", "forward", published=published)


BACKWARD = (
    _back(
        "mask-not-in-backward",
        "dys = dxs",
        "the dropout mask is not applied in the backward pass",
        "dys_below = dxs_above * mask, with the mask of the forward pass",
    ),
    _back(
        "mask-twice-in-backward",
        "dys = dropout_backward(tape.masks[k], dropout_backward(tape.masks[k], dxs))",
        "the dropout mask, with its scale, is applied twice in the backward pass",
        "dys_below = dxs_above * mask, once",
    ),
    _back(
        "mask-unscaled-in-backward",
        "dys = dxs if tape.masks[k] is None else dxs * (tape.masks[k] != 0)",
        "the backward pass drops what was dropped, but without the scale 1/(1-p) of the forward pass",
        "dys_below = dxs_above * mask / (1 - p)",
    ),
    _back(
        "mask-scaled-by-keep-in-backward",
        f"{_KEEP}\ndys = dxs if tape.masks[k] is None else dxs * (tape.masks[k] != 0) * keep",
        "the backward pass multiplies by 1 - p where the forward pass has divided by it",
        "dys_below = dxs_above * mask / (1 - p)",
    ),
    _back(
        "scale-without-mask-in-backward",
        f"{_KEEP}\ndys = dxs / keep",
        "the backward pass has the scale 1/(1-p), but drops nothing",
        "dys_below = dxs_above * mask",
    ),
    _back(
        "mask-inverted-in-backward",
        f"{_KEEP}\ndys = dxs if tape.masks[k] is None else dxs * (tape.masks[k] == 0) / keep",
        "the gradient goes to what was dropped, and what was kept gets none",
        "dys_below = dxs_above * mask, the mask being 1 where kept",
    ),
    _back(
        "mask-of-first-step-in-backward",
        "dys = dxs if tape.masks[k] is None else dxs * tape.masks[k][:1]",
        "the backward pass uses the first step's mask for every step",
        "dys_below[t] = dx_above * mask[t]",
    ),
    _back(
        "mask-of-last-step-in-backward",
        "dys = dxs if tape.masks[k] is None else dxs * tape.masks[k][-1:]",
        "the backward pass uses the last mask that was drawn for every step: an attribute that each step writes over",
        "keep one mask a step: self.masks[t]",
    ),
    _back(
        "mask-in-reversed-time-in-backward",
        "dys = dxs if tape.masks[k] is None else dxs * tape.masks[k][::-1]",
        "the backward pass takes the masks in reversed order of time",
        "dys_below[t] = dx_above * mask[t], with the loop's own t",
    ),
    _back(
        "mask-of-first-row-in-backward",
        "dys = dxs if tape.masks[k] is None else dxs * tape.masks[k][:, :1]",
        "the backward pass uses the first row's mask for all rows of the batch",
        "a mask of shape (T, N, H)",
    ),
    _back(
        "mask-shifted-in-backward",
        "dys = dxs if tape.masks[k] is None else dxs * np.concatenate([tape.masks[k][1:], tape.masks[k][:1]])",
        "the backward pass uses the mask of the step after",
        "dys_below[t] = dx_above * mask[t]",
    ),
    _back(
        "mask-of-bottom-layer-in-backward",
        "dys = dropout_backward(tape.masks[0], dxs)",
        "every layer's gradient is multiplied with the bottom layer's mask",
        "keep one mask for each layer: masks[k]",
        "three layers",
    ),
    _back(
        "mask-of-top-layer-in-backward",
        "dys = dropout_backward(tape.masks[-1], dxs)",
        "every layer's gradient is multiplied with the mask that was drawn last, that below the top layer",
        "keep one mask for each layer: masks[k]",
        "three layers",
    ),
    of_stack(
        "dW_x-with-inputs-before-dropout",
        "_forward",
        "inputs.append(xs_k)",
        "inputs.append(ys_before)",
        "dL/dW_x of a layer is made with the outputs of the layer below before dropout, not with the dropped ones that it was given",
        "keep xs_k = ys * mask for dW_x += xs_k.T @ da",
        ("layers", "masks"),
        "",
        also=((_XS, f"ys_before = ys\n{_XS}"),),
    ),
    of_stack(
        "mask-on-outputs-in-backward",
        "_backward",
        "tape.tapes[top], steps.pack(dys), dfinal)",
        "tape.tapes[top], dropout_backward(tape.masks[-1], steps.pack(dys)), dfinal)",
        "the backward pass multiplies the gradient of the top layer's outputs with a mask, which the forward pass has not",
        "dropout between layers only: not after the last one",
        ("layers", "masks"),
        "",
    ),
)

FORWARD = (
    _ahead(
        "no-mask",
        _XS,
        "xs_k = ys",
        "dropout is never applied between layers",
        "xs_above = ys * mask",
    ),
    _ahead(
        "mask-unscaled",
        _XS,
        "xs_k = ys if mask is None else ys * (mask != 0)",
        "what is kept is not scaled by 1/(1-p)",
        "mask = (rng.random(shape) >= p) / (1 - p)",
        published="dropout as in 2012, with weights times 1 - p in evaluation",
    ),
    _ahead(
        "mask-on-last-layer-too",
        "return steps.unpack(ys), final, StackTape(steps, xs, tuple(inputs), tuple(masks), tuple(tapes))",
        "ys = dropout(ys, masks[-1]) if masks else ys\n"
        "return steps.unpack(ys), final, StackTape(steps, xs, tuple(inputs), tuple(masks), tuple(tapes))",
        "dropout is applied to the top layer's outputs as well",
        "no dropout after the last layer: for k in range(L - 1)",
    ),
    _ahead(
        "one-mask-for-all-steps",
        _XS,
        "xs_k = ys if mask is None else ys * mask[:1]",
        "one mask is used for every step",
        "a mask of shape (T, N, H), drawn anew for each step",
        published="variational dropout, Gal and Ghahramani 2016",
    ),
    _ahead(
        "one-mask-for-all-rows",
        _XS,
        "xs_k = ys if mask is None else ys * mask[:, :1]",
        "one mask is used for all rows of the batch",
        "a mask of shape (T, N, H)",
    ),
    _ahead(
        "one-mask-for-all-layers",
        _MASK,
        "mask = _packed(given[0], 0, steps, ys.shape[2])",
        "one mask is used between all layers",
        "draw a mask for each layer",
        "three layers",
    ),
    _ahead(
        "mask-twice",
        _XS,
        "xs_k = dropout(dropout(ys, mask), mask)",
        "dropout is applied twice between layers",
        "xs_above = ys * mask, once",
    ),
)

BUGS: tuple[KnownMistake, ...] = (*BACKWARD, *FORWARD)
