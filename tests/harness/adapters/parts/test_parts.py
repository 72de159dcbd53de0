"""How parts of a training loop are recognised and called."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.api.describe import describe
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check
from bptt.harness.subject import PARTS, Array, Subject
from bptt.harness.targets import load
from bptt.refimpl.training import SGD
from bptt.reports.accounting import USAGE
from tests.harness.checks import planted_parts as planted
from tests.harness.checks import right_parts as right

WANTED = {
    "clip": "def clip(grads, theta):\n    return grads\n",
    "adam": "class Adam:\n    like = 'adam'\n    def __init__(self, lr): self.lr = lr\n    def step(self, params, grads): return params\n",
}


def loaded(target: object, like: str | None = None, **args: Any) -> Subject:
    (subject,) = load(target, args or None, like)
    return subject


@pytest.mark.parametrize(
    ("target", "like", "capability", "words"),
    [
        (planted.CleanClip, None, "pure", "in a dict by name"),
        (right.clip_list, "clip_global_norm", "in place", "in a list"),
        (right.clip_values, "clip_elementwise", "in place", "in a dict by name"),
        (planted.CleanDescent, None, "in place", "hyperparameters lr 0.07"),
        (planted.CleanMomentum, None, "pure", "lr 0.07, momentum 0.8"),
        (right.Velocity, None, "in place", "in a list"),
        (right.descend, "sgd", "in place", "a function of params, grads and lr"),
        (planted.CleanAdam, None, "pure", "lr 0.07, beta1 0.85, beta2 0.97, eps 1e-05"),
        (right.AdamInPlace, None, "in place", "lr 0.07, beta1 0.9 (its attribute), beta2 0.999 (its attribute), eps 1e-08 (its attribute)"),
        (planted.CleanPerplexity, None, "pure", "with the mean losses of batches and their counts"),
        (right.perplexity_of_losses, "perplexity", "pure", "with losses"),
        (right.perplexity_of_mean, "perplexity", "pure", "with the mean loss"),
        (planted.CleanDropout, None, "pure", "with a generator, a shape and p"),
        (right.Halving, None, "pure", "made with lr, then step(loss) after each evaluation"),
        (right.dividing, "divide_on_plateau", "pure", "with the losses so far and the rate"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_a_part_is_described_as_it_is_written(target: object, like: str | None, capability: str, words: str) -> None:
    subject = loaded(target, like)
    assert subject.kind == "part" and subject.like in PARTS
    assert subject.capabilities == {capability}
    said = " ".join(describe(target, like=like).split())
    assert words in said
    assert subject.like in said and ("--like" in said) == (like is not None)


def test_an_object_that_is_made_already_keeps_its_hyperparameters() -> None:
    made = planted.CleanMomentum(lr=0.3, momentum=0.5)
    subject = loaded(made)
    assert subject.implementation.hyper == {"lr": 0.3, "momentum": 0.5}
    assert check(made, isolate=False, level="smoke").ok
    assert made.v == {}


def test_arguments_are_those_of_the_class() -> None:
    subject = loaded(planted.CleanAdam, betas=[0.5, 0.75], lr=0.25)
    assert subject.implementation.hyper == {"lr": 0.25, "beta1": 0.5, "beta2": 0.75, "eps": 1e-5}
    assert check(planted.CleanAdam, args={"betas": [0.5, 0.75]}, isolate=False, level="smoke").ok


def test_the_learning_rate_can_be_changed_only_where_there_is_an_attribute() -> None:
    assert loaded(planted.CleanMomentum).implementation.rate == "lr"
    assert loaded(right.Velocity).implementation.rate == "learning_rate"

    class Hidden(planted.CleanDescent):
        def __init__(self, lr: float) -> None:
            self._rate = lr

        def step(self, params: dict[str, Array], grads: Any) -> dict[str, Array]:
            return {name: p - self._rate * grads[name] for name, p in params.items()}

    run = check(Hidden, isolate=False)
    assert run.ok and run["TRN330"].status == "not_applicable"


def test_what_comes_first_in_a_tuple_is_taken() -> None:
    from bptt.refimpl.training import clip_by_global_norm

    subject = loaded(clip_by_global_norm, "clip_global_norm")
    grads = {"W": np.array([[3.0, 4.0]])}
    assert np.allclose(subject.implementation.answer(grads, 1.0)["W", None], [[0.6, 0.8]], rtol=1e-15)


def sgd(grads: Any) -> Any:
    return grads


def raises(grads: Any, theta: float) -> Any:
    raise RuntimeError("not today")


def forgets(grads: Any, theta: float) -> Any:
    return {"W_x": grads["W_x"]}


def vector(rng: Any, shape: Any, p: float) -> Any:
    return rng.random(shape[0])


def misspelt(grads: Any, theta: float) -> Any:
    return grads


misspelt.like = "clip_globl_norm"  # type: ignore[attr-defined]  # as a user writes it


class NoStep:
    def __init__(self, lr: float) -> None:
        self.lr = lr


class NoRate:
    def step(self, params: Any, grads: Any) -> None: ...


class WantsModel(NoStep):
    def __init__(self, model: Any, lr: float) -> None: ...

    def step(self, params: Any, grads: Any) -> None: ...


@pytest.mark.parametrize(
    ("target", "like", "words"),
    [
        (sgd, "clip_global_norm", r"sgd\(grads\) does not take 2 arguments, wanted clip_global_norm as f\(grads"),
        (raises, "clip_elementwise", r"raises raised RuntimeError: not today \(at .*test_parts.py:\d+\), wanted clip_elementwise as"),
        (forgets, "clip_global_norm", "forgets gives W_x, wanted W_x, W_h, U, b, K, wanted clip_global_norm as"),
        (vector, "dropout", r"the mask is float64 \(4,\), wanted numbers of shape \(4, 2, 3\), wanted dropout as"),
        (misspelt, None, "like is 'clip_globl_norm', did you mean 'clip_global_norm"),
        (NoStep, "adam", "NoStep has no step and no update, wanted adam as a class made with its learning rate"),
        (NoRate, "sgd", "no learning rate found, wanted a class made with lr or learning_rate"),
        (WantsModel, "sgd", "WantsModel cannot be made without model, wanted lr alone, or --args"),
        (SGD, "sgd", r"SGD.step\(params, grads, slots, lr\) does not take 2 arguments"),
        (np, "sgd", "numpy is no function and no class"),
        (3, "perplexity", "int is no function and no class"),
        (planted.CleanClip, "lstm", "--like lstm: .* is a part of a training loop, wanted one of clip_global_norm"),
        (planted.CleanRule, "adm", "--like: like is 'adm', did you mean 'adam"),
        ("refimpl:lstm", "clip_elementwise", "a Cell cannot be called, wanted clip_elementwise as"),
        ("numpy", "adam", "it names no function or class, wanted pkg.mod:NAME or path/file.py:NAME with --like adam"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_what_is_written_otherwise_is_one_clear_line(target: object, like: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        load(target, None, like)
    assert "\n" not in str(error.value)


def test_a_file_gives_all_parts_that_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(
        f"{WANTED['clip']}\nclip.like = 'clip_elementwise'\n{WANTED['adam']}\ndef helper(a, b):\n    return a\n"
    )
    assert [s.like for s in load(str(tmp_path / "parts.py"))] == ["clip_elementwise", "adam"]


def test_the_command_ends_with_usage_where_it_is_not_written_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bptt.harness.cli.main import main

    (tmp_path / "parts.py").write_text("def clip(grads):\n    return grads\n")
    assert main(["check", f"{tmp_path / 'parts.py'}:clip", "--like", "clip_global_norm"]) == USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_cells_stay_cells() -> None:
    assert [s.kind for s in load("refimpl:lstm")] == ["cell"]
    assert loaded(functools.partial(planted.CleanWindow)).kind == "network"
    subject = loaded(planted.CleanWindow)
    assert subject.kind == "network" and subject.like is None


@pytest.mark.thorough
@pytest.mark.parametrize(("target", "like"), right.OF_TORCH)
def test_torchs_own_are_taken(target: str, like: str | None) -> None:
    pytest.importorskip("torch", reason="needs torch")
    subject = loaded(target, like)
    assert subject.framework == "torch" and subject.capabilities == {"in place"}
    assert subject.like == (like or {"SGD": "sgd", "Adam": "adam"}.get(subject.name, subject.like))


def test_torchs_flags_say_what_it_is() -> None:
    pytest.importorskip("torch", reason="needs torch")
    assert loaded("torch.optim:SGD", momentum=0.5).like == "momentum"
    assert loaded("torch.optim:SGD", momentum=0.5, nesterov=True).like == "nesterov"
    with pytest.raises(UsageError, match="no adapter takes the class RMSprop"):
        load("torch.optim:RMSprop")


_HELD = """
import numpy as np

class Adam:
    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.params, self.lr, self.beta1, self.beta2, self.eps = params, lr, beta1, beta2, eps
        self.m = {k: np.zeros_like(v) for k, v in params.items()}
        self.v = {k: np.zeros_like(v) for k, v in params.items()}
        self.t = 0

    def step(self, grads):
        self.t += 1
        for k, g in grads.items():
            self.m[k] = self.beta1 * self.m[k] + (1 - self.beta1) * g
            self.v[k] = self.beta2 * self.v[k] + (1 - self.beta2) * g**2
            m, v = self.m[k] / (1 - self.beta1**self.t), self.v[k] / (1 - CORRECTED**self.t)
            self.params[k] -= self.lr * m / (np.sqrt(v) + self.eps)
"""


@pytest.mark.parametrize(("corrected", "failed"), [("self.beta2", []), ("self.beta1", ["TRN300"])])
def test_an_optimiser_that_is_made_with_its_parameters_is_handed_them_at_the_first_step(
    corrected: str, failed: list[str], tmp_path: Path
) -> None:
    (tmp_path / "adam.py").write_text(_HELD.replace("CORRECTED", corrected), encoding="utf-8")
    run = check(f"{tmp_path / 'adam.py'}:Adam", like="adam", isolate=False)
    assert [r.check for r in run.failed] == failed, run.text()
    assert failed or not [r for r in run.run.results if r.finding is not None], run.text()


def test_a_part_that_does_not_say_what_it_is_is_told_how(tmp_path: Path) -> None:
    (tmp_path / "adam.py").write_text(_HELD.replace("CORRECTED", "self.beta2"), encoding="utf-8")
    with pytest.raises(UsageError, match="--like adam"):
        loaded(f"{tmp_path / 'adam.py'}:Adam")
