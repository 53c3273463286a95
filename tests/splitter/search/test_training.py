"""Training stops and goes on; estimators find what is there."""

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_space import tiny

from splitter.errors import UsageError
from splitter.search.estimate import training
from splitter.search.estimate.conditional import conditional_means, interpretation
from splitter.search.estimate.correlation import kendall_tau
from splitter.search.estimate.supernet import OneShot, few_shot, train_supernet
from splitter.search.estimate.training import Schedule
from splitter.search.space.shared import make_supernet
from splitter.search.space.space import Architecture, Slot, Space, Stage
from splitter.zoo.datasets import Images

SCHEDULE = Schedule(1.0, batch=32, flip=False)


def images(n: int = 256) -> Images:
    """Classes that differ in where a bright bar is, which a network learns in a few steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 10
    noise = torch.randn((n, 1, 16, 16), generator=generator)
    bars = torch.nn.functional.one_hot(labels + 3, 16)[:, None, None, :].float()
    return Images(noise * 0.1 + 2.0 * bars, labels)


def test_training_interrupted_gives_the_same_weights(tmp_path: Path) -> None:
    def trained(stop_at: int | None, file: Path) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        net = make_supernet(tiny())

        def progress(done: int, total: int, what: str) -> None:
            del total, what
            if done == stop_at:
                raise KeyboardInterrupt

        train_supernet(net, images(), SCHEDULE, seed=3, checkpoint=file, progress=progress)
        return net.state_dict()

    whole = trained(None, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        trained(5, tmp_path / "cut.pt")
    resumed = trained(None, tmp_path / "cut.pt")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "one.pt"
    train_supernet(make_supernet(tiny()), images(64), SCHEDULE, checkpoint=file)
    with pytest.raises(UsageError, match="another training"):
        train_supernet(make_supernet(tiny()), images(64), SCHEDULE, seed=1, checkpoint=file)
    file.write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match="is no checkpoint"):
        train_supernet(make_supernet(tiny()), images(64), SCHEDULE, checkpoint=file)


def test_one_shot_and_few_shot_learn() -> None:
    torch.manual_seed(0)
    net, data = make_supernet(tiny()), images()
    train_supernet(net, data, Schedule(10.0, batch=32, flip=False, shift=0), heaviest_first=0.0)
    one = OneShot(net, data)
    space = net.family.space
    few = few_shot(net, data, data, 0, Schedule(1.0, batch=32, flip=False, shift=0))
    for architecture in space.all():
        assert one.score(architecture) > 0.3
        assert few.score(architecture) > 0.3


ADDITIVE = Space(
    "additive",
    (
        Stage("a", tuple(Slot(f"a{i}", ("x", "y", "z")) for i in range(3)), least=1),
        Stage("b", tuple(Slot(f"b{i}", ("x", "y")) for i in range(2))),
    ),
)


def additive(architecture: Architecture, _: int = 0) -> float:
    """Each choice is worth something, each slot that stands another 0.5."""
    worth = ((0.1, 0.2, 0.3), (0.0, 0.4, 0.2), (0.3, 0.0, 0.1), (0.0, 0.2), (0.1, 0.0))
    standing = [not ADDITIVE.is_skip(i, c) for i, c in enumerate(architecture)]
    own = sum(w[c] for w, c, s in zip(worth, architecture, standing, strict=True) if s)
    return own + 0.5 * sum(standing)


def test_conditional_means_recover_what_adds_up() -> None:
    means = conditional_means(ADDITIVE, additive, passes=60)
    model = means.bilinear(ADDITIVE)
    every = list(ADDITIVE.all())
    truth = [additive(a) for a in every]
    assert kendall_tau(truth, [model.score(a) for a in every]) > 0.95
    for i, slot in enumerate(ADDITIVE.slots):
        for choice in range(1, len(slot.choices)):
            drawn = ADDITIVE.random(Random(choice), (i, choice))
            other = tuple(0 if k == i else c for k, c in enumerate(drawn))
            gain = model.unary[i][choice] - model.unary[i][0]
            assert gain == pytest.approx(additive(drawn) - additive(other), abs=1e-9)
    depths = interpretation(ADDITIVE, model)["a"]
    assert depths["depth 1"] < depths["depth 2"] < depths["depth 3"]


def test_kendall_tau() -> None:
    assert kendall_tau([1, 2, 3], [2, 4, 9]) == 1.0
    assert kendall_tau([1, 2, 3], [3, 2, float("-inf")]) == -1.0
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0.0
    # One discordant pair of six, one tie: (4 - 1) / sqrt(6 * 5).
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 3]) == pytest.approx(3 / 30**0.5)


def test_a_pause_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps taken off the schedule while the machine was busy come back."""
    run: Any = SimpleNamespace(step=20, steps=1000, planned=1000)
    monkeypatch.setattr(training, "monotonic", lambda: 100.0)
    assert not training._late(run, 0, 0.0, 200.0)
    assert run.steps == 40
    run.step = 60
    monkeypatch.setattr(training, "monotonic", lambda: 120.0)
    assert not training._late(run, 0, 0.0, 200.0)
    assert run.steps == 100
    monkeypatch.setattr(training, "monotonic", lambda: 200.5)
    assert training._late(run, 0, 0.0, 200.0)
