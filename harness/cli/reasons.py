"""Why each family of checks is there, and how it comes to its verdict: what `bptt explain` says beside the property."""

from __future__ import annotations

REASONS: dict[str, dict[str, str]] = {
    "contract": {
        "why": ("Every other check calls the implementation as the contract says: where it is broken, their numbers mean nothing."),
        "judges": ("Shapes, dtypes, names and copies made before a call are compared with what stands there after it."),
    },
    "linearity": {
        "why": (
            "Whatever the cell is, its backward is a linear map of its cotangents. What is not linear is no gradient: "
            "clipping inside, something kept from the call before, a cast to fewer digits."
        ),
        "judges": (
            "The backward of a combination of cotangents against the combination of the backwards, to rounding. No reference needed."
        ),
    },
    "gradient": {
        "why": ("A wrong entry makes training slower or worse, and no loss curve tells that from a hard problem."),
        "judges": (
            "Each block (tensor, gate, time step) is projected on random directions under several cotangents, and "
            "held against an exact directional derivative: complex step where the forward pass takes complex numbers, "
            "forward-mode differentiation or a ladder of difference quotients where not. A rounding error shrinks "
            "when the precision grows, a bug does not: there is no tolerance to choose. Every run says how small an "
            "error it would have caught (sensitivity)."
        ),
    },
    "parity": {
        "why": (
            "Weights mean the same in two implementations only where both follow the same convention: gate order, "
            "reset placement, direction of the update gate, number of biases."
        ),
        "judges": ("The weights are carried over to the published cell, both run on the same inputs, and must agree to rounding."),
    },
    "time": {
        "why": (
            "A recurrent cell is the same map at every step, fed by its own state. An implementation over whole sequences can break that."
        ),
        "judges": ("Runs of the same weights on cut, changed and restarted sequences against each other. No reference needed."),
    },
    "batch": {
        "why": ("Rows of a batch are independent sequences. A wrong axis or a broadcast mixes them, and averages hide it."),
        "judges": ("A row in a batch against the same row alone, or beside other rows. No reference needed."),
    },
    "lengths": {
        "why": ("A batch of sequences of different lengths is padded. What stands in the padding must be seen by nobody, in no direction."),
        "judges": ("The padded batch against the same sequences alone, and against other numbers in the padding. No reference needed."),
    },
    "options": {
        "why": ("What is switched on in training and off in evaluation is wrong in one of them for long before anybody looks."),
        "judges": ("The same batch with given masks, with masks of ones and without, in turn. No reference needed."),
    },
    "training": {
        "why": (
            "Around a right gradient stand a clip, an optimiser and a measure. A wrong one still trains, only worse, and its perplexity "
            "cannot be held against anybody's."
        ),
        "judges": (
            "The part's own numbers against the published formula on the same arrays, below and above a threshold, over one step and a "
            "hundred. Known mistakes are computed beside them: what gives the same wrong numbers to rounding is the cause."
        ),
    },
    "numerics": {
        "why": ("A cast to fewer digits or an overflow spoils long sequences first, where nobody looks."),
        "judges": ("The forward pass in the precision of its inputs against the same in more, and at inputs far from zero."),
    },
}
