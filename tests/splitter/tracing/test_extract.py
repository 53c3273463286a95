"""Any split of a traced net into runs of layers computes what the whole net computes."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import splitter

OPERATIONS = {
    "linear": lambda net, i, x, y: net.linears[i % 3](x),
    "relu": lambda net, i, x, y: torch.relu(x),
    "add": lambda net, i, x, y: x + y,
    "scale": lambda net, i, x, y: x * net.scale,
    "softmax": lambda net, i, x, y: torch.softmax(x, -1),
    "matmul": lambda net, i, x, y: x @ y.transpose(0, 1) @ y,
    "transpose": lambda net, i, x, y: x.transpose(0, 1).reshape(4, 6),
    "halves": lambda net, i, x, y: torch.cat(x.chunk(2, 1)[::-1], 1),
}
Step = tuple[str, int, int]


class RandomNet(nn.Module):
    """Each step reads two of the tensors made so far; linear layers are shared among steps."""

    def __init__(self, steps: list[Step], outputs: list[int]) -> None:
        super().__init__()
        self.steps, self.wanted = steps, outputs
        self.linears = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.scale = nn.Parameter(torch.rand(6))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = [a, b]
        for i, (name, left, right) in enumerate(self.steps):
            x, y = made[left % len(made)], made[right % len(made)]
            made.append(OPERATIONS[name](self, i, x, y))
        return (*(made[i % len(made)] for i in self.wanted), made[-1])


STEP = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 9), st.integers(0, 9))
NETS = st.builds(
    RandomNet,
    st.lists(STEP, min_size=1, max_size=9),
    st.lists(st.integers(0, 9), max_size=2),
)


@settings(max_examples=25, deadline=None)
@given(net=NETS, cuts=st.sets(st.integers(0, 12), max_size=4), seed=st.integers(0, 99))
def test_runs_of_layers_together_are_the_whole(net: RandomNet, cuts: set[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(4, 6, generator=generator), torch.rand(4, 6, generator=generator)
    program = splitter.trace(net, inputs)
    layers = [layer.name for layer in program.graph.layers]
    edges = sorted({0, len(layers), *(cut for cut in cuts if cut < len(layers))})
    known = dict(zip(program.graph.inputs, inputs, strict=True))
    for start, end in pairwise(edges):
        part = program.extract(layers[start:end], f"part {start}")
        assert part.graph.faults() == []
        assert set(part.graph.weight_bytes) == set(program.graph.weights_of(layers[start:end]))
        found = part(*(known[name] for name in part.graph.inputs))
        known |= dict(zip(part.graph.outputs, found, strict=True))
    with torch.no_grad():
        wanted = net(*inputs)
    for name, value in zip(program.graph.outputs, wanted, strict=True):
        torch.testing.assert_close(known[name], value, rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(net=NETS)
def test_layers_alone_take_their_weights_as_inputs(net: RandomNet) -> None:
    inputs = torch.rand(4, 6), torch.rand(4, 6)
    program = splitter.trace(net, inputs)
    tensors = program.tensors(*inputs)
    for layer in program.graph.layers:
        given_tensors = [tensors[name] for name in layer.inputs]
        given_tensors += [program.constant(name) for name in layer.weights]
        with torch.no_grad():
            found = program.layer_module(layer)(*given_tensors)
        for name, value in zip(layer.outputs, found, strict=True):
            torch.testing.assert_close(value, tensors[name])
