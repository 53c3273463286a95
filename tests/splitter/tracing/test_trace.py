"""Tracing torch modules: what becomes a layer, what its numbers are, and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import splitter
from splitter import Program
from splitter.errors import InputError, ModelError


def traced(module: nn.Module, *inputs: torch.Tensor, **names: Any) -> Program:
    """The program, after a check that it still computes what ``module`` does."""
    program = splitter.trace(module, inputs, **names)
    module.eval()
    with torch.no_grad():
        wanted = module(*inputs)
    wanted = wanted if isinstance(wanted, tuple | list) else (wanted,)
    found = program(*inputs)
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert program.graph.faults() == []
    return program


def kinds(program: Program) -> list[str]:
    return [layer.kind for layer in program.graph.layers]


def names(program: Program) -> list[str]:
    return [layer.name for layer in program.graph.layers]


class Function(nn.Module):
    """A module of a plain function, and the modules it uses."""

    def __init__(self, function: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


# --- inputs and outputs


class TwoByTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.mix = nn.Linear(8, 8)

    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.words(ids) * scale
        return self.mix(x), x.sum(-1)


def test_several_inputs_and_outputs_and_whole_numbers() -> None:
    ids, scale = torch.tensor([[3, 1, 49]]), torch.rand(1, 3, 1)
    program = traced(TwoByTwo(), ids, scale, name="two", output_names=("mixed", "total"))
    graph = program.graph
    assert graph.name == "two"
    assert graph.inputs == ("ids", "scale")
    assert graph.outputs == ("mixed", "total")
    assert (graph.tensors["ids"].dtype, graph.tensors["ids"].shape) == ("int64", (1, 3))
    assert graph.tensors["ids"].bytes == 24
    assert program.example_inputs[0] is ids


def test_given_input_names() -> None:
    program = traced(TwoByTwo(), torch.tensor([[1]]), torch.rand(1, 1, 1), input_names=("a", "b"))
    assert program.graph.inputs == ("a", "b")
    with pytest.raises(ModelError, match=r"the model has 2 inputs; the names \['a'\] do not fit"):
        splitter.trace(TwoByTwo(), (torch.tensor([[1]]), torch.rand(1, 1, 1)), input_names=("a",))


def test_output_that_is_an_input() -> None:
    program = traced(Function(lambda m, x: (x, m.a(x)), a=nn.Linear(4, 4)), torch.rand(1, 4))
    assert program.graph.outputs[0] == program.graph.inputs[0]


def test_output_given_twice() -> None:
    def twice(m: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = m.a(x)
        return y, y

    program = traced(Function(twice, a=nn.Linear(4, 4)), torch.rand(1, 4))
    assert program.graph.outputs == ("a", "a")


def test_output_that_depends_on_no_input() -> None:
    constant = nn.Parameter(torch.tensor([1.0, 2.0]))

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = constant

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.relu(x), self.constant * 3

    program = traced(Constant(), torch.rand(1, 4))
    assert len(program.graph.outputs) == 2
    assert program.graph.producer[program.graph.outputs[1]].weights


def test_input_that_nothing_reads() -> None:
    program = traced(Function(lambda m, x, y: m.a(x), a=nn.Linear(4, 4)), *torch.rand(2, 1, 4))
    assert len(program.graph.inputs) == 2
    assert kinds(program) == ["linear"]


def test_tensor_with_several_readers_is_one_tensor() -> None:
    def branches(m: Any, x: torch.Tensor) -> torch.Tensor:
        y = m.stem(x)
        return m.left(y) + m.right(y) + y

    parts = {name: nn.Conv2d(3, 3, 1) for name in ("stem", "left", "right")}
    program = traced(Function(branches, **parts), IMAGE)
    assert [layer.name for layer in program.graph.consumers["stem"]] == ["left", "right"]
    last = program.graph.by_name[names(program)[-1]]
    assert {"stem", "left"} <= set(last.inputs)


# --- constants


def test_shared_weights_are_stored_once() -> None:
    shared = nn.Linear(6, 6)
    other = nn.Linear(6, 6)
    other.weight = shared.weight
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), other)
    graph = traced(net, torch.rand(1, 6)).graph
    weights = [weight for weight in graph.weight_bytes if "weight" in weight]
    assert len(weights) == 1
    assert graph.total_weight_bytes == 4 * (36 + 6 + 6)
    assert all(weights[0] in layer.weights for layer in graph.layers)


def test_constants_are_folded() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scale = torch.exp(self.weight.sum()) + torch.arange(4).float().sqrt()
            return F.linear(x, self.weight.t().contiguous() * 2) * scale

    program = traced(Folded(), torch.rand(1, 4))
    assert len(program.graph.layers) == 1
    assert kinds(program) == ["linear"]
    assert set(program.graph.layers[0].weights) == set(program.graph.weight_bytes)


def with_statistics(norm: Any) -> Any:
    """A batch norm as if trained."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.copy_(torch.randn(value.shape, generator=generator))
        norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.1)
    return norm


@pytest.mark.parametrize(
    ("net", "inputs", "expected"),
    [
        (lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)], IMAGE, ["conv2d"]),
        (lambda: [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)], IMAGE, ["conv2d"]),
        (lambda: [nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)], IMAGE, ["grouped conv2d"]),
        (lambda: [nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)], IMAGE[0], ["conv1d"]),
        (lambda: [nn.Linear(8, 4), nn.BatchNorm1d(4)], IMAGE[0, 0], ["linear"]),
        (lambda: [nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4)], IMAGE, ["conv_transpose2d"]),
        (lambda: [nn.ConvTranspose2d(3, 6, 2, groups=3), nn.BatchNorm2d(6)], IMAGE, None),
        (lambda: [nn.BatchNorm2d(3)], IMAGE, None),
        (lambda: [nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)], IMAGE, None),
        (lambda: [nn.Linear(8, 3), nn.BatchNorm1d(3)], IMAGE[:, :, :, 0].expand(2, 3, 8), None),
        (lambda: [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)], IMAGE, ["conv2d"]),
    ],
)
def test_batch_norm_is_gone(net: Any, inputs: torch.Tensor, expected: list[str] | None) -> None:
    parts = [
        with_statistics(part)
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine
        else part
        for part in net()
    ]
    if inputs.dim() == 3 and isinstance(parts[0], nn.Conv1d):
        inputs = inputs[None].reshape(1, 3, -1)
    program = traced(nn.Sequential(*parts), inputs)
    assert not any("batch_norm" in str(node.target) for node in program.module.graph.nodes)
    if expected is not None:
        assert kinds(program) == expected
        assert len(program.graph.layers) == 1


def test_batch_norm_of_a_tensor_that_others_read_is_kept_apart() -> None:
    def branches(m: Any, x: torch.Tensor) -> torch.Tensor:
        y = m.conv(x)
        return m.norm(y) + y

    parts = {"conv": nn.Conv2d(3, 4, 3), "norm": with_statistics(nn.BatchNorm2d(4))}
    traced(Function(branches, **parts), IMAGE)


# --- layers


def test_elementwise_tails_join_their_producer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 1), nn.Sigmoid())
    program = traced(net, IMAGE)
    assert names(program) == ["0", "2"]
    assert [layer.macs for layer in program.graph.layers] == [4 * 36 * 27, 4 * 36 * 4]


def test_equal_layers_have_one_signature() -> None:
    net = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)), nn.Conv2d(3, 3, 1))
    signatures = [layer.signature for layer in traced(net, IMAGE).graph.layers]
    assert len(set(signatures)) == 2
    assert signatures[0] == signatures[1] == signatures[2]


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.softmax(block(x), 1) + x
        return self.head(x.mean((2, 3)))


def test_names_survive_a_new_trace_with_other_weights_and_sizes() -> None:
    first = traced(Named(), IMAGE)
    larger = traced(Named(), torch.rand(1, 3, 16, 16))
    assert names(first) == names(larger)
    assert list(first.graph.weight_bytes) == list(larger.graph.weight_bytes)
    assert {"stem.0", "blocks.0", "blocks.1", "blocks.2", "head"} <= set(names(first))


def test_tracing_leaves_the_module_alone() -> None:
    module = Named().train()
    module.blocks[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    splitter.trace(module, (IMAGE,))
    assert [m.training for m in (module, module.stem, module.blocks[1])] == [True, True, False]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_training_behaviour_is_not_traced() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.ReLU()).train()
    assert names(splitter.trace(net, (torch.rand(1, 4),))) == ["0"]


# --- what is refused


def test_control_flow_on_data() -> None:
    net = Function(lambda m, x: x * 2 if x.sum() > 0 else x)
    with pytest.raises(
        ModelError, match=r"picky cannot be traced: .* Control flow must not depend"
    ):
        splitter.trace(net, (torch.rand(3),), name="picky")


class Counting(nn.Module):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.calls


def test_buffer_that_changes() -> None:
    with pytest.raises(
        ModelError, match=r"the model changes calls while it runs; .* return the new"
    ):
        splitter.trace(Counting(), (torch.rand(3),))


def test_input_that_is_changed() -> None:
    with pytest.raises(ModelError, match=r"changes .* while it runs"):
        splitter.trace(Function(lambda m, x: x.add_(1) * 2), (torch.rand(3),))


def test_output_that_is_no_tensor() -> None:
    with pytest.raises(ModelError, match="the model returns 7; every output must be a tensor"):
        splitter.trace(Function(lambda m, x: (x + 1, 7)), (torch.rand(3),))


def test_complex_numbers() -> None:
    with pytest.raises(ModelError, match="complex64"):
        splitter.trace(Function(lambda m, x: x * 2), (torch.rand(3).to(torch.complex64),))


def test_wrong_example() -> None:
    with pytest.raises(ModelError, match=r"cannot be traced: .*forward must take the example inp"):
        splitter.trace(nn.Linear(3, 3), (torch.rand(1, 4),))


def test_wrong_inputs_of_a_program() -> None:
    program = splitter.trace(nn.Linear(3, 3), (torch.rand(1, 3),), name="net")
    with pytest.raises(InputError, match=r"net takes 1 inputs \(input\), but 2 were given"):
        program(torch.rand(1, 3), torch.rand(1, 3))
    with pytest.raises(InputError, match=r"input input must have shape \[1, 3\], not \[2, 3\]"):
        program(torch.rand(2, 3))
    with pytest.raises(InputError, match="input input must be float32, not float64"):
        program(torch.rand(1, 3).double())


# --- exported programs


def exported(dims: Sequence[str] = ()) -> torch.export.ExportedProgram:
    shapes = ({2 + i: torch.export.Dim(name, min=4) for i, name in enumerate(dims)},)
    return torch.export.export(Named().eval(), (IMAGE,), dynamic_shapes=shapes if dims else None)


def test_exported_program() -> None:
    program = splitter.trace(exported())
    assert names(program) == names(traced(Named(), IMAGE))
    torch.testing.assert_close(program.example_inputs[0], IMAGE)


def test_open_exported_program_takes_the_shapes_of_the_inputs() -> None:
    given = exported(("high", "wide"))
    with pytest.raises(ModelError, match=r"net has open dimensions; .* --input-shape x=1,3,"):
        splitter.trace(given, name="net")
    larger = torch.rand(1, 3, 12, 20)
    program = splitter.trace(given, (larger,))
    assert program.graph.tensors["x"].shape == (1, 3, 12, 20)
    torch.testing.assert_close(program(larger)[0], given.module()(larger))


def test_exported_program_of_another_shape() -> None:
    with pytest.raises(
        ModelError, match=r"for input x of shape \[1, 3, 8, 8\], not \[1, 3, 9, 9\]"
    ):
        splitter.trace(exported(), (torch.rand(1, 3, 9, 9),))


def test_exported_file(tmp_path: Path) -> None:
    torch.export.save(exported(("high", "wide")), tmp_path / "net.pt2")
    program = splitter.load(tmp_path / "net.pt2", {"x": (1, 3, 8, 8)})
    assert program.graph.name == "net"
    assert names(program) == names(traced(Named(), IMAGE))
