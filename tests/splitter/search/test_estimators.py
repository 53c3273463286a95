"""Gates, latency models, memory access, training-free scores, the table of cells."""

import gzip
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

from splitter.errors import InputError
from splitter.search.estimate.gates import GatedChoice, saved_bytes
from splitter.search.estimate.latency import Measured, compare_models, fit_regressor, one_hot
from splitter.search.estimate.memory_access import access, access_bound, features, lint
from splitter.search.estimate.naswot import naswot_score
from splitter.search.estimate.regression import fit_linear, fit_pairs
from splitter.search.space.nasbench201 import SPACE, cell_network, read_table
from splitter.tracing.trace import trace


def choice(candidates: int) -> GatedChoice:
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU()) for _ in range(candidates)]
    gated = GatedChoice(made)
    gated.alpha.copy_(torch.linspace(-0.5, 0.7, candidates))
    return gated


def test_alpha_gradient_of_the_mixture_is_that_of_differences() -> None:
    gated, x = choice(3).double(), torch.randn(2, 4, 6, 6, dtype=torch.float64)
    labels = torch.tensor([1, 3])

    def loss() -> torch.Tensor:
        gated.all_open()
        return nn.functional.cross_entropy(gated(x).mean((2, 3)), labels)

    loss().backward()
    analytic = gated.alpha_gradient()
    for i in range(3):
        ends = []
        for sign in (1, -1):
            gated.alpha[i] += sign * 1e-6
            ends.append(float(loss().detach()))
            gated.alpha[i] -= sign * 1e-6
        assert float(analytic[i]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_gates_have_the_gradient_of_their_outputs() -> None:
    gated, x = choice(4), torch.randn(2, 4, 6, 6)
    gated.draw(torch.Generator().manual_seed(1))
    out = gated(x)
    (out**2).sum().backward()
    assert gated.gates is not None
    with torch.no_grad():
        parts = [gated.candidates[i](x) for i in gated.drawn]
        wanted = torch.stack([(part * 2 * out).sum() for part in parts])
    torch.testing.assert_close(gated.gates.grad, wanted)
    moved = gated.alpha_gradient()
    assert int((moved != 0).sum()) <= 2
    assert float(moved.sum()) == pytest.approx(0.0, abs=1e-4)


def test_two_paths_need_the_same_memory_for_two_and_eight_candidates() -> None:
    x = torch.randn(2, 4, 8, 8)

    def kept(candidates: int, two: bool) -> int:
        gated = choice(candidates)
        gated.draw(torch.Generator().manual_seed(0)) if two else gated.all_open()
        return saved_bytes(gated, x)

    assert kept(8, two=True) == kept(2, two=True)
    assert kept(8, two=False) > 3 * kept(2, two=False)


def seconds(architecture: tuple[int, ...]) -> float:
    worth = (0.1, 0.2, 0.8, 2.0, 0.5)
    return 1e-3 * (1.0 + sum(worth[c] for c in architecture))


def test_latency_models_learn_an_additive_machine() -> None:
    rng = Random(0)
    cells = tuple(SPACE.random(rng) for _ in range(150))
    again = tuple(seconds(a) * 1.02 for a in cells)
    measured = Measured(cells, tuple(map(seconds, cells)), again)
    found = compare_models(SPACE, measured.rows(0, 120), measured.rows(120, 150))
    assert found["floor"] == pytest.approx(0.02)
    assert found["table_error"] < 0.01
    assert found["table_tau"] > 0.95
    assert found["regressor_error"] < 0.15
    model = fit_regressor(SPACE, measured, steps=50)
    mixed = torch.full((1, sum(SPACE.widths)), 0.2, requires_grad=True)
    model(mixed).sum().backward()
    assert mixed.grad is not None
    assert mixed.grad.abs().sum() > 0
    assert one_hot(SPACE, cells).sum(1).eq(len(SPACE.slots)).all()


def test_pairs_are_found_where_there_are_some() -> None:
    rng = Random(1)
    cells = [SPACE.random(rng) for _ in range(1500)]

    def truth(a: tuple[int, ...]) -> float:
        return float(a[0] == a[1])

    fitted = fit_pairs(SPACE, cells, [truth(a) for a in cells], ridge=1e-3)
    linear = fit_linear(SPACE, cells, [truth(a) for a in cells], ridge=1e-3)
    errors = [
        sum((m.score(a) - truth(a)) ** 2 for a in cells) / len(cells) for m in (fitted, linear)
    ]
    assert errors[0] < 1e-4 < errors[1]


def test_shufflenets_first_rule_is_exact_at_equal_widths() -> None:
    positions, width = 49, 64
    assert access(positions, width, width) == pytest.approx(
        access_bound(positions, positions * width * width)
    )
    assert access(positions, 32, 128) > access_bound(positions, positions * 32 * 128)


def test_the_lint_names_what_it_objects_to() -> None:
    wide = nn.Sequential(nn.Conv2d(4, 160, 1), nn.ReLU(), nn.Conv2d(160, 160, 1))
    graph = trace(wide, (torch.zeros(1, 4, 28, 28),)).graph
    said = lint(graph)
    assert any("from 4 to 160 channels" in line for line in said)
    assert features(graph).macs == graph.macs
    even = trace(nn.Conv2d(32, 32, 1), (torch.zeros(1, 32, 14, 14),)).graph
    assert lint(even) == []


def test_naswot_prefers_what_tells_images_apart() -> None:
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def score(*operators: int) -> float:
        torch.manual_seed(0)
        return naswot_score(cell_network(operators, channels=8, cells=1), images)

    assert score(3, 3, 3, 3, 3, 3) > score(1, 1, 1, 1, 1, 1) > score(4, 0, 0, 0, 0, 0)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.csv.gz"
    with pytest.raises(InputError, match="is no table"):
        read_table(file)
    header = ",".join(slot.name for slot in SPACE.slots)
    with gzip.open(file, "wt") as out:
        out.write(f"{header},test_accuracy,one_shot_accuracy,few_shot_accuracy\n")
        out.write("none," * 6 + "10,10,10\n")
    with pytest.raises(InputError, match="has 1 cells"):
        read_table(file)
