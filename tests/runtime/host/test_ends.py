"""Inputs that appear on several devices, outputs that are wanted on several: real nodes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.host import Bundle
from splitter.errors import UsageError
from splitter.schedule import HOST, node_schedules

Build = Callable[[Any], Bundle]
Answer = Callable[[Any, Mapping[str, np.ndarray]], tuple[np.ndarray, ...]]


@pytest.fixture(scope="module")
def scattered(build: Build, toys: Any) -> tuple[Any, Bundle]:
    """x appears on a, y on b; left is wanted on a, both on c, and b makes right."""
    toy = toys(
        layers={
            "left": (("x",), "a"),
            "right": (("y",), "b"),
            "both": (("left", "right"), "c"),
        },
        outputs=("both", "left", "right"),
        inputs={"x": "float32", "y": "float32"},
        sources=(("y", "b"),),
        sinks=(("left", "a"), ("right", "b")),
    )
    return toy, build(toy)


def inputs(number: int) -> dict[str, np.ndarray]:
    x = np.full((2, 3), 0.5 * number + 0.25, np.float32)
    return {"x": x, "y": 10 * x + np.arange(6, dtype=np.float32).reshape(2, 3)}


def test_every_device_deals_with_the_host_for_its_own(scattered: tuple[Any, Bundle]) -> None:
    _, bundle = scattered
    schedules = node_schedules(bundle.graph, bundle.topology, bundle.plan.placement)
    fed = {s.device: [t for t, peer in s.receives if peer == HOST] for s in schedules}
    collected = {s.device: [t for t, peer in s.sends if peer == HOST] for s in schedules}
    assert fed == {"a": ["x"], "b": ["y"], "c": []}
    assert collected == {"a": ["left"], "b": ["right"], "c": ["both"]}


def test_one_request_after_the_other(scattered: tuple[Any, Bundle], answer: Answer) -> None:
    toy, bundle = scattered
    with bundle.launch(timeout_s=20) as deployment:
        for number in range(4):
            found = deployment(**inputs(number))
            for one, other in zip(found, answer(toy, inputs(number)), strict=True):
                np.testing.assert_array_equal(one, other)


def test_many_requests_at_once(scattered: tuple[Any, Bundle], answer: Answer) -> None:
    toy, bundle = scattered
    items = [inputs(number) for number in range(60)]
    with bundle.launch(timeout_s=20) as deployment:
        for item, found in zip(items, deployment.map(items), strict=True):
            for one, other in zip(found, answer(toy, item), strict=True):
                np.testing.assert_array_equal(one, other)


def test_the_address_of_every_source_is_needed(scattered: tuple[Any, Bundle]) -> None:
    _, bundle = scattered
    with pytest.raises(UsageError, match="the address of the source node b is missing"):
        bundle.connect({"a": "127.0.0.1:9"}, timeout_s=1)


def test_one_device_may_be_source_and_sink_of_all(build: Build, toys: Any, answer: Answer) -> None:
    toy = toys(
        layers={"first": (("x",), "a"), "last": (("first",), "b")},
        outputs=("last",),
        source="b",
        sink="b",
        sources=(("x", "a"),),
    )
    with build(replace(toy, devices=("a", "b"))).launch(timeout_s=20) as deployment:
        x = np.ones((2, 3), np.float32)
        (wanted,) = answer(toy, {"x": x})
        np.testing.assert_array_equal(deployment(x), wanted)
