"""TRP and SVD: exact factorisations, ranks, and layers that do the same in two steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from compress_nets import Loop, Residual
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.formats import CompressedTensor, Factors
from compress.lowrank import NoDecompositionError, decompose, factored_sizes, fold, unfold
from compress.rewrite import factor, put_values
from compress.sites import sites_of
from compress.svd import SVD
from compress.trp import TRP
from splitter.errors import ModelError, UsageError
from splitter.tracing.trace import trace

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


@dataclass
class Case:
    """A convolution of any geometry, an input for it, and a scheme."""

    layer: nn.Module
    scheme: str
    x: torch.Tensor = field(repr=False)


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    dims = draw(st.integers(1, 3))
    scheme = draw(st.sampled_from(["nc", "nd", "vh"] if dims == 2 else ["nc", "nd"]))
    groups = draw(st.integers(1, 3))
    inputs, outputs = (groups * draw(st.integers(1, 4)) for _ in range(2))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(dims))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(dims))
    stride: Any = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    padding: Any = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    if draw(st.booleans()):
        padding, stride = draw(st.sampled_from(["same", "valid"])), (1,) * dims
    mode = draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"]))
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    build: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    layer = build(
        inputs,
        outputs,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    return Case(layer, scheme, torch.randn(2, inputs, *(9 + i for i in range(dims))))


def graph_of(model: nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    from splitter.tracing.export import export_module, flat_module

    return flat_module(export_module(model, (x,), "net"))


@given(convolutions(), st.integers(1, 6))
@settings(max_examples=120, deadline=None)
def test_factored_equals_truncated(case: Case, rank: int) -> None:
    layer, x, scheme = case.layer, case.x, case.scheme
    net = nn.Sequential(layer).eval()
    (site,) = sites_of(net)
    found = decompose(layer.weight, scheme, site.groups)
    rank = min(rank, found.values.shape[1])
    factors = found.factors(rank)
    assert factors.rank == rank
    assert (factors.first.size, factors.second.size) == factored_sizes(site, scheme, rank)
    dense = torch.from_numpy(factors.dense())
    torch.testing.assert_close(dense, found.truncated(rank).detach(), atol=1e-5, rtol=1e-5)
    tensors: Mapping[str, CompressedTensor] = {site.weight: factors}
    put_values(net, tensors)
    truncated = net(x)
    scale = float(truncated.detach().abs().max())
    assert float((factor(net, tensors)(x) - truncated).detach().abs().max()) <= 1e-5 * max(scale, 1)
    assert [s.layer for s in sites_of(net)] == ["0.0", "0.1"]


@given(convolutions(), st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_factored_in_a_graph(case: Case, rank: int) -> None:
    layer, x, scheme = case.layer, case.x, case.scheme
    net = graph_of(nn.Sequential(layer).eval(), x)
    (site,) = sites_of(net)
    found = decompose(layer.weight, scheme, site.groups)
    factors = found.factors(min(rank, found.values.shape[1]))
    put_values(net, {site.weight: factors})
    (truncated,) = net(x)
    scale = float(truncated.detach().abs().max())
    (split,) = factor(net, {site.weight: factors})(x)
    assert float((split - truncated).detach().abs().max()) <= 1e-5 * max(scale, 1)
    assert [s.weight for s in sites_of(net)] == ["0.0.weight", "0.1.weight"]


@given(convolutions())
@settings(max_examples=50, deadline=None)
def test_unfolding_is_undone(case: Case) -> None:
    layer, scheme = case.layer, case.scheme
    (site,) = sites_of(nn.Sequential(layer))
    matrices = unfold(layer.weight, scheme, site.groups)
    assert torch.equal(fold(matrices, scheme, site.shape, site.groups), layer.weight)


@given(convolutions(), st.integers(1, 5), st.floats(0.01, 2), st.floats(0.3, 1))
@settings(max_examples=60, deadline=None)
def test_truncation(case: Case, rank: int, threshold: float, energy: float) -> None:
    """It is idempotent for ranks and thresholds; energy keeps what it promises, no rank more."""
    layer, scheme = case.layer, case.scheme
    (site,) = sites_of(nn.Sequential(layer))
    weight = layer.weight.detach()
    found = decompose(weight, scheme, site.groups)
    for kept in (min(rank, found.values.shape[1]), found.rank_for_threshold(threshold)):
        once = found.truncated(kept)
        again = decompose(once, scheme, site.groups)
        torch.testing.assert_close(again.truncated(kept), once, atol=1e-5, rtol=1e-4)
        assert again.rank_for_threshold(1e-4 * float(found.values.max())) <= kept
    kept = found.rank_for_energy(energy)
    whole = float(weight.square().sum())
    assert float(found.truncated(kept).square().sum()) >= (energy - 1e-4) * whole
    if kept > 1:
        assert float(found.truncated(kept - 1).square().sum()) <= (energy + 1e-4) * whole


def test_nuclear_gradient() -> None:
    """Against the derivative of the sum of singular values."""
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for scheme in ("nc", "vh", "nd"):
        leaf = weight.clone().requires_grad_()
        torch.linalg.svdvals(unfold(leaf, scheme, 1)).sum().backward()
        found = decompose(weight, scheme, 1)
        wanted = found.nuclear_gradient(found.values.shape[1])
        assert leaf.grad is not None
        torch.testing.assert_close(wanted, leaf.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scheme", ["nc", "vh", "nd"])
def test_trp_in_training(scheme: str, net: Residual, loop: Loop) -> None:
    """Truncated every period; in the end two layers do what the truncated one does."""
    method = TRP(scheme=scheme, period=3, train_energy=0.8, nuclear=1e-3, threshold=0, energy=0.999)
    method.attach(net)
    steps = 0

    def ranks() -> list[int]:
        return [
            decompose(s_weight, scheme, groups).rank_for_threshold(1e-4)
            for s_weight, groups in ((net.conv1.weight, 1), (net.conv2.weight, 2))
        ]

    full = {"nc": 12, "vh": 24, "nd": 8}[scheme]
    assert ranks()[0] < full

    def check() -> None:
        nonlocal steps
        method.step()
        steps += 1
        if steps % 3 == 0:
            assert ranks()[0] < full
        else:
            assert ranks()[0] >= 1

    loop(net, check, 9)
    tensors = method.finish()
    assert set(tensors) <= {"conv1.weight", "conv2.weight"}
    assert "conv1.weight" in tensors or scheme == "nd"
    net.eval()
    x = torch.randn(4, 2, 8, 8)
    truncated = net(x)
    assert float((factor(net, tensors)(x) - truncated).detach().abs().max()) < 1e-5
    assert isinstance(net.conv1, nn.Sequential) == ("conv1.weight" in tensors)
    assert not any(module.training for module in net.modules())


def test_a_rank_that_is_asked_for_holds_in_training(net: Residual, loop: Loop) -> None:
    method = TRP(rank=2, threshold=0.0, period=2)
    method.attach(net, ["conv1"])
    loop(net, method.step, 4)
    trained = net.conv1.weight.detach().clone()
    assert decompose(trained, "nc", 1).rank_for_threshold(1e-5) == 2
    found = method.finish()["conv1.weight"]
    assert isinstance(found, Factors)
    assert found.rank == 2
    torch.testing.assert_close(net.conv1.weight.detach(), trained, atol=1e-5, rtol=1e-4)


def test_nuclear_pull_acts_once_per_truncation(net: Residual) -> None:
    method = TRP(period=2, nuclear=0.5)
    method.attach(net, ["conv1"])
    pull = 0.5 * decompose(net.conv1.weight, "nc", 1).nuclear_gradient(12)
    gradients = []
    for _ in range(3):
        net.zero_grad()
        (net.conv1.weight * 0).sum().backward()
        assert net.conv1.weight.grad is not None
        gradients.append(net.conv1.weight.grad.clone())
        method.step()
    torch.testing.assert_close(gradients[0], pull, atol=1e-5, rtol=1e-3)
    assert not gradients[1].any()
    assert gradients[2].any()
    method.finish()
    net.zero_grad()
    (net.conv1.weight * 0).sum().backward()
    assert net.conv1.weight.grad is not None
    assert not net.conv1.weight.grad.any()


def test_layers_that_would_grow_stay_whole(net: Residual) -> None:
    before = net.conv1.weight.detach().clone()
    method = SVD(energy=1.0)
    method.attach(net)
    assert method.finish() == {}
    assert torch.equal(net.conv1.weight, before)


@pytest.mark.parametrize("scheme", ["nc", "vh", "nd"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_factored_only_where_work_and_size_fall(scheme: str, stride: tuple[int, int]) -> None:
    x = torch.zeros(1, 12, 18, 18)
    factored = []
    for rank in range(1, 13):
        net = nn.Sequential(nn.Conv2d(12, 12, 3, stride, 1)).eval()
        (site,) = sites_of(net)
        method = SVD(scheme=scheme, rank=rank)
        method.attach(net, ["0"])
        tensors = method.finish()
        factored.append(bool(tensors))
        if rank not in (1, 4):
            continue
        whole = trace(net, (x,)).graph
        small = trace(factor(net, tensors), (x,)).graph
        assert (small.macs < whole.macs) == bool(tensors)
        assert sum(factored_sizes(site, scheme, rank)) < 12 * 12 * 9 or not tensors
    assert factored[0] or (scheme, stride) == ("nd", (2, 2))
    assert sorted(factored, reverse=True) == factored, (
        "a higher rank never pays where a lower fails"
    )


def test_weights_that_are_not_finite(net: Residual) -> None:
    with torch.no_grad():
        net.conv1.weight[0] = torch.nan
    with pytest.raises(NoDecompositionError, match="not finite"):
        decompose(net.conv1.weight, "nc", 1)
    method = TRP()
    method.attach(net)
    method.step()
    with pytest.raises(ModelError, match=r"conv1\.weight cannot be factored \(it is not finite\)"):
        method.finish()


def test_tied_weights_are_not_factored() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    net[2].weight = net[1].weight
    assert [(s.weight, s.alone) for s in sites_of(net)] == [("0.weight", True), ("1.weight", False)]
    with pytest.raises(UsageError, match="layer 1 cannot be compressed with svd: other layers sha"):
        SVD().attach(net, ["1"])
    method = SVD(rank=1)
    method.attach(net)
    assert method.finish() == {}


def test_linear_layers() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    method = SVD(rank=2)
    method.attach(net, ["0"])
    tensors = method.finish()
    x = torch.randn(5, 8)
    truncated = net(x)
    assert float((factor(net, tensors)(x) - truncated).detach().abs().max()) < 1e-5
    with pytest.raises(UsageError, match=r"layer 2 cannot .*: scheme vh needs a kernel; use nc"):
        SVD(scheme="vh").attach(net, ["2"])


def test_factors_of_another_network() -> None:
    factors = Factors("nc", np.zeros((1, 4, 3, 3), np.float32), np.zeros((4, 1, 1, 1), np.float32))
    net = nn.Sequential(nn.Conv2d(4, 5, 3))
    with pytest.raises(ModelError, match=r"0\.weight belongs to no layer that two could replace"):
        factor(net, {"0.weight": factors})
    with pytest.raises(ModelError, match=r"shape \[5, 4, 3, 3\], the compressed one \[4, 4, 3, 3"):
        put_values(net, {"0.weight": factors})
    with pytest.raises(ModelError, match="the network has no weight w"):
        put_values(net, {"w": factors})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "cp"}, "svd: scheme must be one of nc, vh, nd, not 'cp'"),
        ({"energy": 0.0}, "svd: energy must be above 0 and at most 1, not 0.0"),
        ({"energy": float("nan")}, "svd: energy must be above 0 and at most 1, not nan"),
        ({"rank": -1}, "svd: rank must be 0 or more, not -1"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SVD(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_ranks_in_whole_blocks(multiple: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(24, 20, 3), nn.Conv2d(20, 4, 3))
    sites = sites_of(model)
    method = SVD(rank=5, multiple=multiple)
    method.attach_to(model, [s for s in sites if s.is_spatial])
    tensors = method.finish()
    ranks = {name: t.rank for name, t in tensors.items() if isinstance(t, Factors)}
    # Of four outputs no larger rank saves anything; the second layer has room.
    assert ranks == {"1.weight": -(-5 // multiple) * multiple}
