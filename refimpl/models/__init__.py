"""Networks with their loss inside, on the published cells: language models, regressors, and the other shapes of sequence problems.

A model is a frozen dataclass, whose fields are its options, with the methods

    init(rng, input_size, hidden_size)                   -> params           input_size: how many words, where words go in
    zero_state(params, batch_size)                       -> state
    batch(rng, params, T, N)                             -> inputs, targets  random ones of its own kind
    masks(rng, params, T, N)                             -> dropout masks, or None
    loss(params, inputs, targets, state, masks=None)     -> loss, dparams, final_state
    predict(params, inputs, state)                       -> scores or values, final_state      (evaluation: no dropout)

and each of the names below stands for one of them, as it is usually built.
"""

from __future__ import annotations

from bptt.refimpl.models.char_rnn import CharRNN
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.models.shapes import ManyToMany, ManyToOne, OneToMany
from bptt.refimpl.models.word_rnn import WordRNN

word_rnn = WordRNN()
truncated_word_rnn = WordRNN(truncation=4)
char_rnn = CharRNN()
language_model = LanguageModel()
tied_language_model = LanguageModel(cells=("lstm", "lstm"), embedding=True, tied=True, dropout=0.5)
bidirectional_language_model = LanguageModel(cells=("gru_reset_after",), bidirectional=True)
regressor = Regressor()
lstm_regressor = Regressor(cell="lstm")
many_to_one = ManyToOne(cells=("lstm",))
many_to_many = ManyToMany(cells=("lstm",), bidirectional=True)
one_to_many = OneToMany(cells=("lstm",))

__all__ = [
    "CharRNN",
    "LanguageModel",
    "ManyToMany",
    "ManyToOne",
    "OneToMany",
    "Regressor",
    "WordRNN",
    "bidirectional_language_model",
    "char_rnn",
    "language_model",
    "lstm_regressor",
    "many_to_many",
    "many_to_one",
    "one_to_many",
    "regressor",
    "tied_language_model",
    "truncated_word_rnn",
    "word_rnn",
]
