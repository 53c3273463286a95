"""Traced programs, whatever they came from: compressed, saved, loaded, the same answers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from compress_nets import Loop, Residual, residual
from onnx import TensorProto, helper, numpy_helper

import splitter
from compress.apply import apply_recipe
from compress.compare import compare, stored_bytes
from compress.formats import Codebook
from compress.methods import parse_method
from compress.programs import attach, compress_program, program_sites, save_program
from compress.recipe import Recipe, Rule
from compress.sites import sites_of
from compress.slq import SLQ
from compress.storage import EXTRA_FILE, read_compressed
from compress.teach import Samples, Training, trainer
from splitter.errors import InputError, ModelError
from splitter.program import Program
from splitter.tracing.trace import trace

RECIPES = {
    "bits": "slq:bits=4",
    "scaled bits": "kmeans:bits=6,per_channel=true",
    "ternary": "mlq",
    "low rank": "svd:rank=2",
}


def recipe(text: str, pattern: str = "conv*") -> Recipe:
    return Recipe((Rule(pattern, parse_method(text)),))


def onnx_program(path: Path) -> Program:
    """A strided convolution without a name for torch, a product with a transposed weight."""
    random = np.random.default_rng(0)
    first = random.normal(size=(8, 3, 3, 3)).astype(np.float32)
    second = random.normal(size=(8 * 16, 5)).astype(np.float32)
    nodes = [
        helper.make_node(
            "Conv", ["image", "conv_w"], ["c"], "conv_a", pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "product_w"], ["y"], "product"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(first, "conv_w"), numpy_helper.from_array(second, "product_w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return splitter.load(path)


@pytest.fixture(params=["torch", "onnx"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    if request.param == "onnx":
        return onnx_program(tmp_path / "net.onnx")
    module, inputs = residual()
    return trace(module, inputs, name="net")


@pytest.mark.parametrize("kind", RECIPES)
def test_saved_and_loaded(kind: str, program: Program, tmp_path: Path) -> None:
    pattern = "conv*"
    before = {name: program.constant(name).clone() for name in program.graph.weight_bytes}
    made, applied = compress_program(program, recipe(RECIPES[kind], pattern))
    assert bool(applied.factored) == (kind == "low rank")
    save_program(made, tmp_path / "small.pt2")
    again = splitter.load(tmp_path / "small.pt2")
    assert [layer.name for layer in again.graph.layers] == [x.name for x in made.graph.layers]
    assert again.compressed.keys() == made.compressed.keys()
    for name, tensor in again.compressed.items():
        assert np.array_equal(tensor.dense(), again.constant(name).numpy())
        assert type(tensor) is type(made.compressed[name])
    for mine, theirs in zip(
        made(*program.example_inputs), again(*program.example_inputs), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert stored_bytes(again) == stored_bytes(made) < program.graph.total_weight_bytes
    for name, value in before.items():
        assert torch.equal(program.constant(name), value), "the original is left alone"


def test_saving_is_reproducible(program: Program, tmp_path: Path) -> None:
    made, _ = compress_program(program, recipe("kmeans:bits=4"))
    for name in "ab":
        save_program(made, tmp_path / f"{name}.pt2")
    assert (tmp_path / "a.pt2").read_bytes() == (tmp_path / "b.pt2").read_bytes()
    assert read_compressed(tmp_path / "a.pt2").keys() == made.compressed.keys()


def test_parts_of_a_compressed_program(program: Program) -> None:
    made, _ = compress_program(program, recipe("kmeans:bits=4", "*"))
    weights = {s.layer: s.weight for s in program_sites(made)}
    first, weight = next(iter(weights.items()))
    part = made.extract([first], "part")
    assert set(part.compressed) == {weight}


def test_trained_module_keeps_its_codebooks_through_tracing(net: Residual, loop: Loop) -> None:
    """Batch norms fold into weights: one scale per output, the same indices and values."""
    method = SLQ(bits=3, steps_per_round=2)
    method.attach(net)
    loop(net, method.step, method.total_steps)
    tensors = method.finish()
    net.eval()
    plain = trace(net, (torch.randn(1, 2, 8, 8),))
    made = attach(plain, tensors)
    assert made.compressed.keys() == tensors.keys()
    for name, tensor in made.compressed.items():
        old = tensors[name]
        assert isinstance(tensor, Codebook)
        assert isinstance(old, Codebook)
        assert tensor.scale is not None
        assert np.array_equal(tensor.indices, old.indices)
        assert np.array_equal(tensor.values, old.values)
        value = made.constant(name).numpy()
        np.testing.assert_allclose(tensor.dense(), value, atol=1e-5 * float(np.abs(value).max()))
    with torch.no_grad():
        net.conv1.weight[0, 0, 0, 0] += 1.0
    changed = trace(net, (torch.randn(1, 2, 8, 8),))
    with pytest.raises(ModelError, match=r"conv1\.weight is not what its compressed form stands f"):
        attach(changed, tensors)
    with pytest.raises(ModelError, match=r"model has no weight other\.weight; compress it again"):
        attach(plain, {"other.weight": tensors["conv1.weight"]})


def test_damaged_file(program: Program, tmp_path: Path) -> None:
    import zipfile

    made, _ = compress_program(program, recipe("kmeans:bits=4"))
    path = tmp_path / "net.pt2"
    save_program(made, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in archive.namelist():
            data = archive.read(name)
            bad.writestr(name, data[:-3] if name.endswith(EXTRA_FILE) else data)
    with pytest.raises(ModelError, match=r"compressed weights in .*bad\.pt2 are damaged"):
        splitter.load(tmp_path / "bad.pt2")


def requests(program: Program, count: int, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    shape = program.example_inputs[0].shape
    return Samples((torch.randn(count, *shape, generator=generator),))


def test_the_original_teaches(program: Program) -> None:
    """With unlabelled requests the answers come nearer to the original's than without."""
    followed = recipe("slq:bits=3,steps_per_round=20", "*")
    alone, _ = compress_program(program, followed)
    taught, _ = compress_program(
        program, followed, trainer(program, requests(program, 64), Training(16, 3e-3))
    )
    test = requests(program, 32, seed=1)
    before, after = compare(program, alone, test), compare(program, taught, test)
    assert after.relative_error < before.relative_error
    assert 0 <= before.agreement <= 1
    assert after.accuracy is None
    for name, tensor in taught.compressed.items():
        assert np.array_equal(tensor.dense(), taught.constant(name).numpy())


def test_labels(program: Program) -> None:
    """Labels that the original gets wrong gain on its own answer."""
    samples = requests(program, 40)
    answer = int(program(samples.inputs[0][0])[0].argmax())
    wrong = (answer + 1) % program.graph.tensors[program.graph.outputs[0]].shape[-1]
    labelled = Samples(samples.inputs, torch.full((40,), wrong))
    losses = []
    for given in (samples, labelled):
        train = trainer(program, given, Training(20, 1e-2, label_weight=1.0))
        taught, _ = compress_program(program, recipe("slq:bits=4,steps_per_round=15"), train)
        logits = torch.cat([taught(row)[0] for row in samples.inputs[0]])
        losses.append(float(torch.nn.functional.cross_entropy(logits, labelled.labels)))
        found = compare(program, taught, labelled)
        assert found.accuracy is not None
        assert 0 <= found.accuracy <= 1
    assert losses[1] < losses[0] - 0.02


def test_training_is_reproducible(program: Program) -> None:
    made = [
        compress_program(
            program,
            recipe("inq:steps_per_round=2"),
            trainer(program, requests(program, 8), Training(4)),
        )[0]
        for _ in range(2)
    ]
    for name in made[0].graph.weight_bytes:
        assert torch.equal(made[0].constant(name), made[1].constant(name))


def test_requests_of_another_model(program: Program) -> None:
    with pytest.raises(InputError, match="must have shape"):
        trainer(program, Samples((torch.zeros(3, 1, 2, 5, 5),)), Training())
    with pytest.raises(InputError, match="give one or more of each"):
        trainer(program, Samples(()), Training())


def test_sites_of_an_onnx_program(tmp_path: Path) -> None:
    sites = program_sites(onnx_program(tmp_path / "n.onnx"))
    assert len(sites) == 2
    assert sites[0].is_spatial
    assert all(site.alone for site in sites)
    assert sites_of(torch.nn.Sequential(torch.nn.ReLU())) == ()


def test_low_rank_then_bits(net: Residual) -> None:
    net.eval()
    x = torch.randn(1, 2, 8, 8)
    plain = trace(net, (x,))
    rules = (Rule("conv*", parse_method("svd:rank=3")), Rule("*", parse_method("kmeans:bits=8")))
    made, applied = compress_program(plain, Recipe(rules))
    assert set(applied.factored) == {"conv1.weight", "conv2.weight"}
    assert {"conv1.0.weight", "conv1.1.weight"} <= set(made.compressed)
    assert made.graph.macs < plain.graph.macs
    assert made.graph.inputs == plain.graph.inputs
    applied_again = apply_recipe(net, Recipe(rules))
    assert set(applied_again.tensors) == set(made.compressed)
