"""Every real network, split in several ways, gives the answer of the network as published."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from real_models import RealModel, assert_answer, in_turn, outputs_of, real_model

import splitter
from runtime.host import run_report
from runtime.host.processor import QEMU, missing_emulators

pytestmark = pytest.mark.models

MODELS = (
    "mobilenet_v2",
    "efficientnet_lite0",
    "vit_saliency",
    "centerface",
    "ocr_detection",
    "ocr_recognition",
    "ocr_angle",
    "minilm_l3",
    "minilm_l6",
)
SPLITS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "two_early": (("camera", 1), ("server", 4)),
    "two_and_back": (("camera", 2), ("server", 3), ("camera", 2)),
    "three_even": (("camera", 1), ("hub", 1), ("server", 1)),
    "three_late": (("hub", 12), ("server", 1), ("camera", 3)),
    "three_interleaved": (
        ("camera", 1),
        ("hub", 1),
        ("camera", 1),
        ("server", 1),
        ("hub", 1),
        ("camera", 1),
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, needs: Callable[[bool, str], None]) -> RealModel:
    return real_model(request.param, needs)


def check(bundle: splitter.Bundle, model: RealModel, folder: Path) -> None:
    """Both requests have the right answers, and nodes are as small as they are said to be."""
    for facts in bundle.manifest.nodes.values():
        assert facts.program_bytes - facts.kernel_bytes < 100_000
        assert facts.program_bytes < 1_500_000
    folder.mkdir()
    with bundle.launch(trace_dir=folder, timeout_s=300) as deployment:
        answers = [outputs_of(deployment(*request)) for request in model.requests]
    for node in run_report(bundle, folder, deployment.times).memory:
        if not node.emulated:
            assert node.measured_bytes is not None
            assert node.measured_bytes < node.planned_bytes
    for found, wanted in zip(answers, model.answers, strict=True):
        assert_answer(found, wanted)
    return answers


@pytest.mark.parametrize("split", SPLITS)
def test_split_model_gives_the_published_answer(
    model: RealModel, split: str, roomy: splitter.Topology, tmp_path: Path
) -> None:
    placement = in_turn(model.program.graph, *SPLITS[split])
    plan = splitter.partition(model.program, roomy, placement=placement)
    bundle = splitter.compile(model.program, plan, roomy, tmp_path / "bundle")
    check(bundle, model, tmp_path / "run")


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2"])
def test_untrained_networks(
    name: str, needs: Callable[[bool, str], None], roomy: splitter.Topology, tmp_path: Path
) -> None:
    model = real_model(name, needs)
    placement = in_turn(model.program.graph, *SPLITS["three_even"])
    plan = splitter.partition(model.program, roomy, placement=placement)
    bundle = splitter.compile(model.program, plan, roomy, tmp_path / "bundle")
    check(bundle, model, tmp_path / "run")


@pytest.mark.foreign
def test_four_processors(needs: Callable[[bool, str], None], tmp_path: Path) -> None:
    missing = missing_emulators(QEMU)
    needs(not missing, ", ".join(missing))
    model = real_model("mobilenet_v2", needs)
    plan = splitter.partition(model.program, "home")
    assert len(set(plan.placement.values())) == 4
    bundle = splitter.compile(model.program, plan, "home", tmp_path / "bundle")
    check(bundle, model, tmp_path / "run")


def test_pipelined_requests_give_the_same_bytes(
    needs: Callable[[bool, str], None], tmp_path: Path
) -> None:
    model = real_model("mobilenet_v2", needs)
    plan = splitter.partition(model.program, "loopback3")
    assert len(set(plan.placement.values())) == 3
    bundle = splitter.compile(model.program, plan, "loopback3", tmp_path / "bundle")
    (image,) = model.requests[0]
    images = [np.roll(image, 19 * i, axis=3) for i in range(12)]
    with bundle.launch() as deployment:
        alone = [deployment(image) for image in images]
        together = list(deployment.map(images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({np.asarray(answer).tobytes() for answer in alone}) == 12


def test_phone_edge_cloud_is_planned_to_the_optimum(needs: Callable[[bool, str], None]) -> None:
    model = real_model("mobilenet_v2", needs)
    plan = splitter.partition(model.program, "phone_edge_cloud")
    assert (plan.proof.status, plan.proof.gap) == ("optimal", 0)
