"""SLQ, MLQ, DNQ, INQ and their controls: what each promises about every weight."""

from typing import Any

import numpy as np
import pytest
import torch
from compress_nets import Loop, Residual
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.clusters import cluster_count, first_centroids, lloyd, nearest
from compress.codebooks import cumulative_counts
from compress.direct import KMeans
from compress.dnq import DNQ
from compress.formats import Codebook, Ternary
from compress.inq import INQ
from compress.levels import power_of_two_levels
from compress.method import Method
from compress.mlq import MLQ
from compress.slq import SLQ
from compress.ternary import OneShotTernary, best_magnitude
from splitter.errors import UsageError

ALL = [
    SLQ(bits=2, steps_per_round=2),
    SLQ(bits=4, steps_per_round=2),
    SLQ(bits=5, order="magnitude", steps_per_round=2),
    SLQ(bits=3, order="smallest-loss", steps_per_round=2, per_channel=True),
    SLQ(bits=8, full=True, steps_per_round=2),
    KMeans(bits=4),
    KMeans(bits=6, per_channel=True),
    MLQ(steps_per_round=2),
    MLQ(order="back", layers_per_round=2, steps_per_round=3),
    MLQ(order="distortion", layers_per_round=0, boundary_first=False, steps_per_round=2),
    OneShotTernary(),
    OneShotTernary(symmetric=True),
    INQ(bits=5, steps_per_round=2),
    INQ(bits=2, steps_per_round=2),
    DNQ(bits=3, steps_per_round=2),
    DNQ(bits=4, order="smallest", levels="powers", steps_per_round=2),
]
NUMBERS = st.floats(-10, 10, width=32)


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.named_parameters()}


@pytest.mark.parametrize("method", ALL, ids=str)
def test_frozen_weights_never_move(method: Method, net: Residual, loop: Loop) -> None:
    """Bit for bit, under momentum and weight decay; and all are frozen in the end."""
    method.attach(net)
    run: Any = method._slot.run
    before: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def check() -> None:
        method.step()
        for weight in run._weights:
            bits = weight.weight.detach().clone().view(torch.int32)
            if weight.name in before:
                mask, old = before[weight.name]
                assert torch.equal(old[mask], bits[mask])
                assert bool((weight.mask | ~mask).all()), "freezing is monotone"
            before[weight.name] = (weight.mask.clone(), bits)

    loop(net, check, max(method.total_steps, 3))
    assert all(bool(weight.mask.all()) for weight in run._weights)
    after = weights(net)
    tensors = method.finish()
    assert tensors
    for name, value in weights(net).items():
        assert torch.equal(value, after[name])
        if name in tensors:
            assert np.array_equal(value.numpy(), tensors[name].dense())


@pytest.mark.parametrize("method", ALL, ids=str)
def test_without_training(method: Method, net: Residual) -> None:
    first = weights(net)
    method.attach(net, ["conv*"])
    tensors = method.finish()
    assert set(tensors) == {"conv1.weight", "conv2.weight"}
    for name, value in weights(net).items():
        if name not in tensors:
            assert torch.equal(value, first[name])
            continue
        assert np.array_equal(value.numpy(), tensors[name].dense())
        error = float((value - first[name]).norm() / first[name].norm())
        assert error < 0.75, (method, error)


def values_of(tensor: object) -> set[float]:
    assert isinstance(tensor, Codebook | Ternary)
    dense = tensor.dense()
    if tensor.scale is not None:
        dense = dense / tensor.scale.factors.reshape([-1] + [1] * (dense.ndim - 1))
    return set(np.unique(np.round(dense, 5)).tolist())


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("order", ["loss", "magnitude"])
def test_slq_codebook(bits: int, order: str, net: Residual, loop: Loop) -> None:
    method = SLQ(bits=bits, order=order, steps_per_round=1)
    method.attach(net)
    loop(net, method.step, method.total_steps)
    for name, tensor in method.finish().items():
        assert isinstance(tensor, Codebook)
        assert name != "head.weight"
        assert len(tensor.values) == 2 ** (bits - 1) + 1
        assert tensor.values[len(tensor.values) // 2] == 0.0
        assert np.all(np.diff(tensor.values) >= 0)
        assert int(tensor.indices.max()) < 2**bits


def test_cluster_counts_of_the_released_schedule() -> None:
    assert cumulative_counts(17, SLQ().fractions) == (5, 9, 13, 15, 17)
    for bits in range(2, 9):
        counts = cumulative_counts(cluster_count(bits), SLQ().fractions)
        assert counts[-1] == cluster_count(bits)
        assert sorted(set(counts)) == list(counts)


@given(arrays(np.float32, st.integers(1, 200), elements=NUMBERS), st.integers(2, 8))
@settings(max_examples=100)
def test_lloyd_lowers_the_error_and_keeps_what_is_fixed(values: np.ndarray, bits: int) -> None:
    weight = torch.from_numpy(values)
    start = first_centroids(weight, cluster_count(bits))
    fixed = torch.zeros(len(start), dtype=torch.bool)
    fixed[[0, len(start) // 2]] = True
    found = lloyd(weight, start, fixed)
    assert bool((start.diff() >= 0).all())
    assert bool((found.diff() >= 0).all())
    assert torch.equal(found[fixed], start[fixed])

    def error(centroids: torch.Tensor) -> float:
        distances = (weight.double()[:, None] - centroids).abs()
        chosen = (weight.double() - centroids[nearest(weight, centroids)]).abs()
        assert torch.allclose(chosen, distances.amin(1))
        return float(chosen.square().sum())

    assert error(found) <= error(start) * (1 + 1e-9) + 1e-12


@given(arrays(np.float32, st.integers(1, 9), elements=NUMBERS))
@settings(max_examples=150)
def test_best_ternary_magnitude_is_optimal(values: np.ndarray) -> None:
    """Against every subset of elements that could be kept, at its best level."""
    magnitudes = np.abs(values).astype(np.float64)
    best = min(
        float(
            (
                (magnitudes - np.where(mask, magnitudes[mask].mean() if mask.any() else 0, 0)) ** 2
            ).sum()
        )
        for mask in (
            np.array([bool(i >> j & 1) for j in range(len(values))])
            for i in range(2 ** len(values))
        )
    )
    level, threshold = best_magnitude(torch.from_numpy(np.abs(values)))
    found = float(((magnitudes - np.where(magnitudes >= threshold, level, 0)) ** 2).sum())
    assert found <= best * (1 + 1e-9) + 1e-9


@given(arrays(np.float32, st.integers(1, 50), elements=NUMBERS), st.integers(2, 8))
def test_inq_levels_are_powers_of_two(values: np.ndarray, bits: int) -> None:
    levels = power_of_two_levels(torch.from_numpy(values), bits).numpy()
    assert len(levels) <= 2 ** (bits - 1) + 1
    assert 0.0 in levels
    mantissas, _ = np.frexp(np.abs(levels[levels != 0]))
    assert set(mantissas.tolist()) <= {0.5}
    largest = float(np.abs(values).max()) or 1.0
    assert levels.max() <= 4 * largest / 3 < 2 * levels.max() * (1 + 1e-6)


def test_inq_result(net: Residual, loop: Loop) -> None:
    method = INQ(bits=4, steps_per_round=2)
    method.attach(net)
    loop(net, method.step, method.total_steps)
    for tensor in method.finish().values():
        mantissas, _ = np.frexp(np.abs(tensor.dense()[tensor.dense() != 0]))
        assert set(mantissas.tolist()) == {0.5}


def test_inq_freezes_large_weights_first(net: Residual) -> None:
    method = INQ(fractions=(0.5, 1.0))
    before = net.conv1.weight.detach().abs().clone()
    method.attach(net, ["conv1"])
    run: Any = method._slot.run
    mask = run._weights[0].mask
    assert int(mask.sum()) == mask.numel() // 2
    assert float(before[mask].min()) >= float(before[~mask].max())


def test_mlq_states(net: Residual, loop: Loop) -> None:
    """States only rise, one layer a round; outer clusters before the inner one."""
    method = MLQ(steps_per_round=2)
    method.attach(net, ["stem", "conv*"])
    run: Any = method._slot.run
    history = [[w.state for w in run._weights]]

    def check() -> None:
        method.step()
        history.append([w.state for w in run._weights])

    loop(net, check, method.total_steps)
    assert history[::2][:-1] == [[1, 0, 0], [2, 1, 0], [2, 2, 1], [2, 2, 2]]
    for tensor in method.finish().values():
        assert len(np.unique(tensor.dense())) == 3


def test_default_layers(net: Residual) -> None:
    def chosen(method: Method) -> set[str]:
        method.attach(net)
        return {name.partition(".")[0] for name in method.finish()}

    assert chosen(SLQ()) == {"stem", "conv1", "conv2"}
    assert chosen(MLQ()) == {"conv1", "conv2"}
    assert chosen(OneShotTernary()) == {"conv1", "conv2"}


def test_a_layer_of_zeros(net: Residual) -> None:
    for method in ALL:
        torch.nn.init.zeros_(net.conv1.weight)
        method.attach(net, ["conv1"])
        assert not method.finish()["conv1.weight"].dense().any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SLQ(bits=1), "slq: bits must be 2 to 8, not 1; for more leave the layer as it is"),
        (lambda: DNQ(bits=9), "dnq: bits must be 2 to 8, not 9"),
        (lambda: SLQ(order="up"), "slq: order must be one of magnitude, loss, smallest-loss"),
        (lambda: INQ(fractions=(0.5, 0.5)), "inq: fractions must rise from above 0 to at most 1"),
        (lambda: INQ(fractions=()), "inq: fractions must rise"),
        (lambda: MLQ(layers_per_round=-1), "mlq: layers_per_round must be 0 or more, not -1"),
        (lambda: MLQ(steps_per_round=0), "mlq: steps_per_round must be 1 or more, not 0"),
    ],
)
def test_impossible_settings(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_use_out_of_order(net: Residual) -> None:
    method = SLQ()
    with pytest.raises(UsageError, match="slq is not attached to a network; call attach"):
        method.step()
    with pytest.raises(UsageError, match="slq is not attached"):
        method.finish()
    method.attach(net)
    with pytest.raises(UsageError, match="attached to a network already; call finish"):
        method.attach(net)
    method.finish()
    method.attach(net)
    with pytest.raises(UsageError, match=r"no layer with weights matches 'konv\*'; .*stem, conv1"):
        SLQ().attach(net, ["konv*"])
