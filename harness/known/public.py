"""Real mistakes from public issue threads, and what stands for each here: a mistake of the library, or the plant of a check.

Each has the mathematics of the report and not its code.
"""

from __future__ import annotations

from dataclasses import replace

from bptt.harness.known import mistake
from bptt.harness.known.mistake import KnownMistake


def _report(link: str, said: str, cell: str = "", name: str = "", check: str = "") -> KnownMistake:
    """A public report owner/repository#number, on github.com: the mistake of the library that has the same mathematics, under the
    report's name and sentence; without edits where it is the planted mistake of the check that finds it."""
    if not name:
        return KnownMistake(link, said, "", found_by=check)
    return replace(mistake(cell, name), name=link, sentence=said, found_by=check, applies_to=(cell,))


def address(report: KnownMistake) -> str:
    repository, _, number = report.name.partition("#")
    return f"https://github.com/{repository}/issues/{number}"


REPORTS: tuple[KnownMistake, ...] = (
    _report(
        "tracel-ai/burn#2701",
        "every step reads h0 and not h_(t-1); the tests had one step",
        "gru_reset_after",
        "every-step-reads-h0",
        "PAR100",
    ),
    _report("zhiyongc/GRU-D#2", "the candidate ignores the reset gate", "gru_reset_after", "reset-ignored", "PAR100"),
    _report("Lasagne/Lasagne#448", "the peephole of o is added after the sigmoid", "lstm_peephole", "o-peephole-after-sigmoid", "PAR100"),
    _report("apple/coremltools#309", "the forget bias is honoured at the first step only", "lstm", "bias-at-the-first-step-only", "PAR100"),
    _report(
        "ml-explore/mlx#3249",
        "without an initial state the bias is left out at the first step",
        "lstm",
        "no-bias-at-the-first-step",
        "PAR100",
    ),
    _report("ddbourgin/numpy-ml#42", "a gate is computed with another gate's block", "lstm", "f-with-block-of-i", "PAR100"),
    _report("qixianbiao/RNN#2", "dL/dh is not handed to the step before", "elman", "dh-next-dropped", "GRD130"),
    _report("nicklashansen/rnn_lstm_from_scratch#1", "df lacks the derivative of the sigmoid", "lstm", "f-derivative-missing", "GRD110"),
    _report("CaptainE/RNN-LSTM-in-numpy#1", "dh_next and dc_next are never updated", "lstm", "dh-next-dc-next-never-updated", "GRD130"),
    _report("deeplearning4j/deeplearning4j#8838", "the gradient of the last cell state is ignored", "lstm", "dfinal-c-ignored", "GRD120"),
    _report("chainer/chainer#8037", "the gradient of the last h is dropped", "lstm", "dfinal-h-ignored", "GRD120"),
    _report("rsokl/MyGrad#4", "truncated BPTT is right only where the window is the whole sequence", check="PAR130"),
    _report("fla-org/flash-linear-attention#1138", "a gradient is wrong where what comes in is not contiguous", check="CON190"),
    _report("pytorch/pytorch#1532", "a fused cell writes over what it saved; the second backward is wrong", check="CON196"),
    _report(
        "pytorch/pytorch#95137", "gradients of initial states are wrong; the tests had zero states", "lstm", "dh0-dc0-swapped", "GRD120"
    ),
    _report("soumith/cudnn.torch#348", "the state of the call before leaks into the next", check="CON150"),
    _report("keitakurita/Better_LSTM_PyTorch#7", "a parameter is overwritten in the forward pass", check="CON140"),
    _report("keras-team/keras#4192", "the backward direction starts in the padding", check="LEN120"),
    _report("pytorch/pytorch#517", "padding is read in the backward direction", check="LEN110"),
    _report("tensorflow/tensorflow#29391", "a dropout mask is kept between calls", check="OPT110"),
    _report("yunjey/pytorch-tutorial#149", "rows of the batch are mixed by a reshape", check="BAT200"),
)
