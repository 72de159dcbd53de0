"""Right implementations in many conventions: what they are, and the words that must name them."""

from __future__ import annotations

from tests.harness.identify.variants import Variant

V = Variant
#: name -> (variant, the published cell, words of the convention)
TABLE: dict[str, tuple[Variant, str, tuple[str, ...]]] = {
    "lstm as torch": (
        V("ifgo", "rows", "two"),
        "lstm",
        ("blocks i f g o", "weights as rows (4H, D)", "two biases", "forget bias 0"),
    ),
    "lstm as keras": (V("ifgo"), "lstm", ("blocks i f g o", "weights as columns (D, 4H)", "one bias")),
    "lstm fused f g i o": (V("fgio"), "lstm", ("blocks f g i o",)),
    "lstm i g f o": (V("igfo", "rows"), "lstm", ("blocks i g f o", "rows")),
    "lstm f i o g": (V("fiog"), "lstm", ("blocks f i o g",)),
    "lstm o g f i": (V("ogfi", "hx"), "lstm", ("blocks o g f i", "one kernel on [h, x] (H+D, 4H)")),
    "lstm as haiku": (
        V("igfo", "xh", forget_bias=1.0),
        "lstm",
        ("blocks i g f o", "one kernel on [x, h] (D+H, 4H)", "forget bias 1 added"),
    ),
    "lstm as tf1 with peepholes": (
        V("igfo", "xh", forget_bias=1.0, peephole="split", states=("c", "h")),
        "lstm_peephole",
        ("one kernel on [x, h]", "forget bias 1 added at run time", "peepholes (o reads the new c)", "state (c, h)"),
    ),
    "lstm as tf1 with a clip": (
        V("igfo", "xh", forget_bias=1.0, cell_clip=0.75, states=("state0", "state1")),
        "lstm_tf1",
        ("forget bias 1 added", "c clipped to 0.75", "state (c, h)"),
    ),
    "lstm as onnx": (
        V("iofg", "leading", "end_to_end", peephole="iof"),
        "lstm_peephole",
        ("blocks i o f g", "weights as rows (1, 4H, D)", "two biases", "peepholes"),
    ),
    "lstm with peepholes a row each": (V("ifgo", "columns", peephole="3 fio"), "lstm_peephole", ("peepholes",)),
    "lstm kernel transposed": (V("gifo", "xh_rows", "column"), "lstm", ("one kernel on [x, h] (4H, D+H)", "one bias")),
    "lstm kernel transposed, h first": (V("iogf", "hx_rows", "none"), "lstm", ("one kernel on [h, x] (4H, H+D)", "no bias")),
    "lstm a tensor a gate": (V("figo", "split", "split"), "lstm", ("one tensor a gate", "weights as columns (D, H)", "one bias")),
    "lstm a tensor a gate, rows": (
        V("figo", "split_rows", "split_two"),
        "lstm",
        ("one tensor a gate", "weights as rows", "two biases"),
    ),
    "lstm a layer a gate": (
        V("figo", "split_hx", "split"),
        "lstm",
        ("an LSTM, one kernel a gate on [h, x] (H+D, H)", "one bias"),
    ),
    "lstm a stack of gates": (V("gofi", "stack"), "lstm", ("blocks g o f i", "weights as columns (4, D, H)")),
    "lstm other order on h": (V("ifgo", gates_h="fiog"), "lstm", ("blocks i f g o on x and f i o g on h",)),
    "lstm gates side by side": (V("iofg", "interleaved"), "lstm", ("gates of a unit side by side, in order i o f g",)),
    "lstm forget bias 2.5": (V("ifgo", forget_bias=2.5), "lstm", ("forget bias 2.5 added at run time",)),
    "lstm (c, h)": (V("ifgo", states=("c", "h")), "lstm", ("state (c, h)",)),
    "lstm projected": (V("ifgo", "columns", projection=2), "lstm_projected", ("output projected to P values",)),
    "lstm projected, one kernel": (
        V("igfo", "xh", projection=3, forget_bias=1.0),
        "lstm_projected",
        ("[x, h] (D+P, 4H)", "projected"),
    ),
    "lstm projected with peepholes": (V("igfo", "xh", projection=3, peephole="split"), "lstm_tf1", ("projected", "peepholes")),
    "gru as torch": (
        V("rzn", "rows", "two"),
        "gru_reset_after",
        ("a GRU", "reset after the product", "z keeps the old state", "blocks r z n", "rows (3H, D)", "two biases"),
    ),
    "gru as keras": (V("zrn", "columns", "pair"), "gru_reset_after", ("reset after", "blocks z r n", "columns", "two biases")),
    "gru as keras, reset before": (
        V("zrn", reset="before"),
        "gru_reset_before",
        ("reset before the product", "z r n", "one bias"),
    ),
    "gru as haiku": (
        V("zrn", reset="before", z_opens_new=True),
        "gru_reset_before",
        ("reset before the product", "z opens the new state", "blocks z r n", "one bias"),
    ),
    "gru as equinox": (V("rzn", "rows", "n_on_h"), "gru_reset_after", ("one bias and a second one for n on h",)),
    "gru as onnx": (V("zrn", "leading", "end_to_end", reset="before"), "gru_reset_before", ("blocks z r n", "two biases")),
    "gru without b_hn": (V("rzn", "rows", "one"), "gru_reset_after", ("reset after", "one bias")),
    "gru without biases": (
        V("nrz", "columns", "none", z_opens_new=True),
        "gru_reset_after",
        ("z opens", "blocks n r z", "no bias"),
    ),
    "gru a tensor a gate": (V("zrn", "split", "split", reset="before"), "gru_reset_before", ("one tensor a gate", "one bias")),
    "gru a tensor a gate, rows": (
        V("rzn", "split_rows", "split_two", z_opens_new=True),
        "gru_reset_after",
        ("z opens", "two biases"),
    ),
    "gru a layer a gate": (
        V("zrn", "split_hx", "split", reset="before", z_opens_new=True),
        "gru_reset_before",
        ("[h, x]", "z opens"),
    ),
    "gru one kernel": (V("nzr", "hx"), "gru_reset_after", ("blocks n z r", "one kernel on [h, x]")),
    "gru other order on h": (V("rzn", gates_h="znr"), "gru_reset_after", ("blocks r z n on x and z n r on h",)),
    "gru state of its own name": (V("rzn", states=("hidden",)), "gru_reset_after", ("a GRU",)),
    "elman as torch": (V("h", "rows", "two"), "elman", ("an Elman cell (tanh)", "weights as rows (H, D)", "two biases")),
    "elman columns": (V("h"), "elman", ("an Elman cell (tanh)", "weights as columns (D, H)", "one bias")),
    "elman relu": (V("h", activation="relu"), "elman_relu", ("an Elman cell (relu)",)),
    "elman sigmoid": (V("h", "xh", activation="sigmoid"), "elman_sigmoid", ("(sigmoid)", "one kernel on [x, h]")),
    "elman linear": (V("h", biases="none", activation="linear"), "elman_linear", ("(no activation)", "no bias")),
    "elman transposed h": (V("h", transposed_h=True), "elman", ("input weights as columns, recurrent weights as rows",)),
    "elman column bias": (V("h", "rows", "column"), "elman", ("rows", "one bias")),
}

#: Departures from every published cell: what must never get a name.
WRONG: dict[str, Variant] = {
    "lstm f * tanh(c)": V("ifgo", mistake="f * tanh(c)"),
    "lstm o peephole on the old c": V("ifgo", peephole="3 ifo", mistake="o reads old c"),
    "lstm without tanh on c": V("ifgo", mistake="no tanh on c"),
    "lstm with tanh outside": V("ifgo", mistake="tanh outside"),
    "lstm with the old c in its output": V("ifgo", mistake="output from the old c"),
    "gru with r on x": V("rzn", "rows", "two", mistake="r on x"),
    "lstm with coupled gates": V("ifgo", mistake="coupled"),
    "lstm with hard sigmoids": V("ifgo", gate_activation="hard_sigmoid"),
    "gru that ignores r": V("rzn", "rows", "two", mistake="ignores r"),
    "gru with both resets": V("rzn", "rows", "two", mistake="both resets"),
    "gru without tanh": V("rzn", mistake="no tanh"),
    "gru with z on one side only": V("rzn", mistake="z not complementary"),
    "gru with hard sigmoids": V("zrn", gate_activation="hard_sigmoid"),
    "leaky elman": V("h", mistake="leaky"),
}
