"""Training of the models: clipping, optimisers, schedules, batches, corpora, perplexity, generation, checkpoints, the loop."""

from __future__ import annotations

from bptt.refimpl.training.batching import Batch, Consecutive, RandomSampling, Sentences, SlidingWindows, Streams
from bptt.refimpl.training.checkpoint import CheckpointError, load, resume, save
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise, global_norm, unclipped
from bptt.refimpl.training.generation import generate, greedy, tempered
from bptt.refimpl.training.loop import Record, Setup, State, averaged, begin, summed, train
from bptt.refimpl.training.optimisers import SGD, Adam, Momentum, Nesterov
from bptt.refimpl.training.perplexity import Score, Validation, evaluate
from bptt.refimpl.training.schedules import Constant, DivideOnPlateau, HalveOnRise
from bptt.refimpl.training.settings import settings_of
from bptt.refimpl.training.vocabulary import CorpusError, Rows, Text, Vocabulary

__all__ = [
    "SGD",
    "Adam",
    "Batch",
    "CheckpointError",
    "Consecutive",
    "Constant",
    "CorpusError",
    "DivideOnPlateau",
    "HalveOnRise",
    "Momentum",
    "Nesterov",
    "RandomSampling",
    "Record",
    "Rows",
    "Score",
    "Sentences",
    "Setup",
    "SlidingWindows",
    "State",
    "Streams",
    "Text",
    "Validation",
    "Vocabulary",
    "averaged",
    "begin",
    "clip_by_global_norm",
    "clip_by_global_norm_torch",
    "clip_elementwise",
    "evaluate",
    "generate",
    "global_norm",
    "greedy",
    "load",
    "resume",
    "save",
    "settings_of",
    "summed",
    "tempered",
    "train",
    "unclipped",
]
