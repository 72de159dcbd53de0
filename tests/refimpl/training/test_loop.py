"""The loop does what a loop written out by hand does, is a function of its state, and changes nothing that it was given."""

from __future__ import annotations

import functools
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from bptt.refimpl.training.batching import Consecutive, RandomSampling, Sentences, Streams
from bptt.refimpl.training.clipping import clip_by_global_norm, global_norm
from bptt.refimpl.training.loop import Record, Setup, State, begin, summed, train
from bptt.refimpl.training.optimisers import SGD, Adam, Momentum
from bptt.refimpl.training.perplexity import Validation
from bptt.refimpl.training.random_state import thawed
from bptt.refimpl.training.schedules import Constant, DivideOnPlateau, HalveOnRise
from bptt.refimpl.training.vocabulary import Rows
from bptt.refimpl.types import Array, Params
from tests.refimpl.training.tinymodel import TinyModel, random_text, text_of

TEXT = random_text(0, 200, 5)
THETA = 0.05
SETUP = Setup(
    TinyModel(dropout=0.4),
    Consecutive(TEXT, 3, 7),
    Momentum(0.9),
    Constant(0.5),
    clip=functools.partial(clip_by_global_norm, theta=THETA),
)


def params_of(seed: int = 0, V: int = 5) -> dict[str, Array]:
    return TinyModel().init(np.random.default_rng(seed), V)


def run(setup: Setup, epochs: int, seed: int = 0, params: Params | None = None) -> tuple[list[Record], State]:
    pairs = list(train(setup, begin(setup, params_of() if params is None else params, seed), epochs))
    return [record for record, _ in pairs], pairs[-1][1]


def timeless(records: list[Record] | tuple[Record, ...]) -> list[Record]:
    return [replace(record, seconds=0.0) for record in records]


def test_two_epochs_as_written_out_by_hand() -> None:
    records, last = run(SETUP, 2)
    generators = begin(SETUP, params_of(), 0).generators
    batches, masks_rng = thawed(generators["batches"]), thawed(generators["masks"])
    params, model = params_of(), TinyModel(dropout=0.4)
    v = {name: np.zeros_like(p) for name, p in params.items()}
    for record in records:
        losses, state = [], {"c": np.zeros(3)}
        for batch in SETUP.batching.epoch(batches).each:
            loss, dparams, state = model.loss(params, batch.inputs, batch.targets, state, model.masks(masks_rng, params, 7, 3))
            scale = min(1.0, THETA / np.sqrt(sum(float((g**2).sum()) for g in dparams.values())))
            v = {name: 0.9 * v[name] + scale * g for name, g in dparams.items()}
            params = {name: p - 0.5 * v[name] for name, p in params.items()}
            losses.append(loss)
        assert len(losses) > 5
        assert record.loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert record.tokens == 21 * len(losses)
    for name, p in params.items():
        np.testing.assert_allclose(last.params[name], p, rtol=1e-12)


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    (records, once), (_, again), (_, other) = run(SETUP, 3), run(SETUP, 3), run(SETUP, 3, seed=1)
    for name, p in once.params.items():
        assert p.tobytes() == again.params[name].tobytes() != other.params[name].tobytes()
    assert timeless(records) == timeless(again.history)


def test_what_comes_after_a_state_is_a_function_of_the_state() -> None:
    _, whole = run(SETUP, 4)
    _, half = run(SETUP, 2)
    for _ in range(2):  # the state can be continued more than once: nobody has moved its generators
        *_, (_, rest) = train(SETUP, half, 4)
        assert rest.params["W"].tobytes() == whole.params["W"].tobytes()
        assert rest.generators == whole.generators
        assert timeless(rest.history) == timeless(whole.history)


def test_dropout_draws_from_a_stream_of_its_own() -> None:
    seen: list[list[Array]] = []
    for dropout in (0.0, 0.4):
        cut: list[Array] = []

        class Watched(TinyModel):
            def loss(self, params: Params, inputs: Array, targets: Array, state: Any, masks: Any = None, cut: list[Array] = cut) -> Any:
                cut.append(inputs)
                return super().loss(params, inputs, targets, state, masks)

        run(replace(SETUP, model=Watched(dropout), batching=RandomSampling(TEXT, 3, 7)), 3)
        seen.append(cut)
    assert len(seen[0]) == len(seen[1]) > 20
    for without, with_dropout in zip(*seen, strict=True):
        np.testing.assert_array_equal(without, with_dropout)


@pytest.mark.parametrize(("batching", "carried"), [(RandomSampling(TEXT, 3, 7), False), (Consecutive(TEXT, 3, 7), True)])
def test_the_state_is_reset_or_carried(batching: Any, carried: bool) -> None:
    starts: list[float] = []

    class Watched(TinyModel):
        def loss(self, params: Params, inputs: Array, targets: Array, state: Any, masks: Any = None) -> Any:
            starts.append(float(state["c"][0]))
            return super().loss(params, inputs, targets, state, masks)

    records, _ = run(replace(SETUP, model=Watched(), batching=batching), 2)
    steps = records[0].tokens // 21
    assert starts[:steps] == [7.0 * i if carried else 0.0 for i in range(steps)]
    assert starts[steps] == 0


def test_what_was_handed_in_is_not_changed_and_records_cannot_be() -> None:
    params = params_of()
    for p in params.values():
        p.flags.writeable = False
    TEXT.ids.flags.writeable = False
    records, last = run(replace(SETUP, optimiser=Adam()), 2, params=params)
    np.testing.assert_array_equal(params["W"], params_of()["W"])
    assert (last.params["W"] != params["W"]).all()
    with pytest.raises(FrozenInstanceError):
        records[0].loss = 0.0  # type: ignore[misc]


def test_float32_stays_float32() -> None:
    _, last = run(replace(SETUP, optimiser=Adam()), 1, params={name: p.astype(np.float32) for name, p in params_of().items()})
    arrays = [*last.params.values(), *last.slots.averages["m"].values(), *last.slots.averages["v"].values()]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_progress_is_told_of_every_step() -> None:
    told: list[tuple[int, int, int, float]] = []
    state = begin(SETUP, params_of(), 0)
    records = [record for record, _ in train(SETUP, state, 2, lambda *about: told.append(about))]
    per_epoch = [record.tokens // 21 for record in records]
    assert [about[:3] for about in told] == [(e, s, n) for e, n in enumerate(per_epoch, 1) for s in range(1, n + 1)]
    assert np.mean([about[3] for about in told if about[0] == 2]) == pytest.approx(records[1].loss)


def test_the_loss_of_an_epoch_is_over_symbols_whatever_the_model_adds_up() -> None:
    rows = Rows("rows", tuple(np.arange(n) % 5 for n in (2, 9, 4)), TEXT.vocabulary)
    params = {"W": np.zeros((5, 5)), "u": np.zeros(5)}

    class Summed(TinyModel):
        def loss(self, *args: Any, **kwargs: Any) -> Any:
            loss, dparams, state = super().loss(*args, **kwargs)
            n = args[2].size
            return loss * n, {name: g * n for name, g in dparams.items()}, state

    still = Setup(TinyModel(), Sentences(rows), SGD(), Constant(1e-300))
    for setup in (still, replace(still, model=Summed(), total=summed)):
        (record,), _ = run(setup, 1, params=params)
        assert record.loss == pytest.approx(math.log(5), rel=1e-12)
        assert record.perplexity == pytest.approx(5, rel=1e-12)
        assert record.tokens == 1 + 8 + 3
    (wrong,), _ = run(replace(still, model=Summed()), 1, params=params)
    assert wrong.loss > 2 * math.log(5)


def test_the_schedule_sees_the_evaluation_and_the_best_parameters_are_kept() -> None:
    losses = iter([3.0, 2.0, 2.5, 1.0, 4.0])
    setup = replace(SETUP, schedule=DivideOnPlateau(0.5), evaluate=lambda params: next(losses))
    pairs = list(train(setup, begin(setup, params_of(), 0), 5))
    assert [record.lr for record, _ in pairs] == [0.5, 0.5, 0.5, 0.125, 0.125]
    assert [record.validation for record, _ in pairs] == [3.0, 2.0, 2.5, 1.0, 4.0]
    assert pairs[0][0].validation_perplexity == pytest.approx(math.exp(3))
    assert pairs[-1][1].rate.lr == 0.125 / 4
    for kept, epoch in zip((0, 1, 1, 3, 3), range(5), strict=True):
        assert pairs[epoch][1].best is pairs[kept][1].params


def test_evaluated_every_so_many_epochs_only() -> None:
    losses = iter([3.0, 4.0, 4.5])
    setup = replace(SETUP, schedule=HalveOnRise(0.5), evaluate=lambda params: next(losses), evaluate_every=2)
    records, _ = run(setup, 6)
    assert [record.validation for record in records] == [None, 3.0, None, 4.0, None, 4.5]
    assert [record.lr for record in records] == [0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_without_an_evaluation_the_schedule_sees_the_loss_of_training() -> None:
    records, last = run(replace(SETUP, schedule=DivideOnPlateau(0.5)), 5)
    best = math.inf
    for record, after in zip(records, [*records[1:], None], strict=True):
        expected = record.lr if record.loss < best else record.lr / 4
        best = min(best, record.loss)
        assert (last.rate.lr if after is None else after.lr) == expected


def test_a_gradient_before_clipping_is_in_the_record() -> None:
    norms: list[float] = []

    def clip(grads: Params) -> tuple[dict[str, Array], float]:
        norms.append(global_norm(grads))
        return clip_by_global_norm(grads, THETA)

    records, _ = run(replace(SETUP, clip=clip), 1)
    assert records[0].norm == max(norms)
    assert max(norms) > THETA


def test_a_loss_that_is_not_finite_ends_the_run_where_it_happens() -> None:
    params = params_of()
    params["W"][2, 1] = np.nan
    with pytest.raises(ValueError, match=r"^loss is nan in epoch 1, step \d+ of \d+, but training needs a finite one$"):
        run(SETUP, 1, params=params)


def test_a_text_of_a_cycle_is_learnt() -> None:
    text = text_of(np.arange(300, dtype=np.int32) % 5)
    setup = Setup(TinyModel(), RandomSampling(text, 4, 6), Adam(), Constant(0.1), evaluate=Validation(TinyModel(), Streams(text, 45, 6)))
    records, last = run(setup, 40)
    assert records[-1].perplexity < 1.05 < 2 < records[0].perplexity
    assert records[-1].validation_perplexity is not None
    assert records[-1].validation_perplexity < 1.05
    assert last.rate.best == min(record.validation for record in records if record.validation is not None)
