"""The files of measurements: kept whole, read back, refused when they are not what they claim."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import splitter
from runtime.build.lower.choice import Choice
from runtime.build.lower.tile import Tile
from runtime.build.tune.database import BY_COST_MODEL, TuningDatabase, fastest
from splitter.errors import SplitterError

WAY = "tiled tile=vector-channels/16x2x7 order=space-inside"
OTHER = "tiled tile=vector-space/4x1x32"


@pytest.fixture
def device(topology: splitter.Topology) -> splitter.Device:
    return topology.devices[0]


@pytest.fixture
def database(tmp_path: Path) -> TuningDatabase:
    return TuningDatabase("a compiler", tmp_path / "tuning")


def test_nothing_measured(database: TuningDatabase, device: splitter.Device) -> None:
    assert database.seconds(device) == {}
    assert database.choices(device) == {}
    assert not database.directory.exists()


def test_figures_are_merged(database: TuningDatabase, device: splitter.Device) -> None:
    database.add(device, False, {"b": {"": 2.0}, "a": {"": 1.0, WAY: 0.5}})
    database.add(device, False, {"b": {"": 3.0, OTHER: 1.0}})
    assert database.seconds(device) == {"a": {"": 1.0, WAY: 0.5}, "b": {"": 3.0, OTHER: 1.0}}
    assert database.choices(device) == {
        "a": Choice("tiled", Tile("vector-channels", 16, 2, 7), "space-inside"),
        "b": Choice("tiled", Tile("vector-space", 4, 1, 32)),
    }
    assert [p.name for p in database.directory.iterdir()] == [database.path(device).name]


def test_order_of_measuring_does_not_show(
    database: TuningDatabase, device: splitter.Device, tmp_path: Path
) -> None:
    other = replace(database, directory=tmp_path / "other")
    database.add(device, False, {"a": {"": 1.0, WAY: 0.5}, "b": {"": 1.0}})
    other.add(device, False, {"b": {"": 1.0}, "a": {WAY: 0.5}})
    other.add(device, False, {"a": {"": 1.0}})
    assert other.path(device).read_bytes() == database.path(device).read_bytes()


def test_each_kind_of_device_has_its_own(database: TuningDatabase, device: splitter.Device) -> None:
    database.add(device, False, {"a": {"": 1.0, WAY: 0.5}})
    others = (
        replace(device, threads=2),
        replace(device, card=replace(device.card, name="mine")),
        replace(device, card=replace(device.card, mattr=("-prefer-256-bit",))),
    )
    for other in others:
        assert database.choices(other) == {}
    assert replace(database, compiler="another").choices(device) == {}
    same = replace(device, name="twin", memory_bytes=1, port=1)
    assert database.choices(same) == database.choices(device) != {}


def test_emulator_counts_only_where_the_device_is_unknown(
    database: TuningDatabase, device: splitter.Device
) -> None:
    database.add(device, True, {"a": {"": 1.0, WAY: 0.1}, "b": {"": 1.0, WAY: 0.1}})
    assert set(database.choices(device)) == {"a", "b"}
    database.add(device, False, {"a": {"": 1.0, WAY: 2.0}})
    assert set(database.choices(device)) == {"b"}


@pytest.mark.parametrize(
    ("ways", "wanted"),
    [
        ({}, ""),
        ({"": 1.0}, ""),
        ({"": 1.0, WAY: 0.97}, WAY),
        ({"": 1.0, WAY: 0.99}, ""),
        ({WAY: 9.0}, WAY),
        ({"": 1.0, WAY: 0.5, OTHER: 0.5}, min(WAY, OTHER)),
    ],
)
def test_fastest(ways: dict[str, float], wanted: str) -> None:
    assert fastest(ways) == wanted


@given(st.dictionaries(st.sampled_from(["", WAY, OTHER]), st.floats(1e-9, 1e9), min_size=1))
def test_fastest_is_never_slower_than_the_cost_models(ways: dict[str, float]) -> None:
    assert fastest(ways) in {*ways, BY_COST_MODEL}
    if BY_COST_MODEL in ways:
        assert ways[fastest(ways)] <= ways[BY_COST_MODEL]


DAMAGE: dict[str, tuple[Any, str]] = {
    "empty": ("", "is not JSON"),
    "half": ('{"format": 1, "seco', "is not JSON"),
    "deep": ("[" * 100_000, "is not JSON"),
    "list": ("[]", "no table of seconds"),
    "no table": ({"seconds": 3}, "no table of seconds"),
    "another format": ({"format": 2}, "has format 2, expected 1"),
    "another device": ({"card": "tablet"}, "has card 'tablet', expected 'x86_64_v3'"),
    "another machine": ({"machine": "0"}, "has machine '0', expected"),
    "another compiler": ({"compiler": "c"}, "has compiler 'c', expected 'a compiler'"),
    "emulator": ({"emulated": True}, "has emulated True, expected False"),
    "no ways": ({"seconds": {"s": []}}, r"has \[\] for layer signature 's', expected a table"),
    "no time": ({"seconds": {"s": {"": "1"}}}, "has '': '1' for layer signature 's'"),
    "no seconds": ({"seconds": {"s": {"": True}}}, "has '': True"),
    "zero": ({"seconds": {"s": {"": 0}}}, "has '': 0 "),
    "infinite": ({"seconds": {"s": {"": float("inf")}}}, "has '': inf"),
    "no way": ({"seconds": {"s": {"fast please": 1.0}}}, "has 'fast please': 1.0"),
    "odd tile": ({"seconds": {"s": {"tiled tile=vector-space/4x": 1.0}}}, "expected a way"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_refused(
    damage: str, database: TuningDatabase, device: splitter.Device
) -> None:
    content, message = DAMAGE[damage]
    database.add(device, False, {"s": {"": 1.0}})
    path = database.path(device)
    document = json.loads(path.read_text())
    text = content if isinstance(content, str) else json.dumps({**document, **content})
    path.write_text(text)
    for attempt in (database.choices, database.seconds, lambda d: database.add(d, False, {})):
        with pytest.raises(SplitterError, match=message) as caught:
            attempt(device)
        assert str(caught.value).endswith(
            f"; delete it and compile with --tune again, or compile with --untuned: {path}"
        )
    assert path.read_text() == text


def test_file_that_cannot_be_read(database: TuningDatabase, device: splitter.Device) -> None:
    path = database.path(device)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SplitterError, match="is not text"):
        database.choices(device)
    path.unlink()
    path.mkdir()
    with pytest.raises(SplitterError, match="cannot be read: Is a directory"):
        database.choices(device)


def test_file_that_cannot_be_written(device: splitter.Device, tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("taken")
    database = TuningDatabase("a compiler", tmp_path / "tuning")
    with pytest.raises(SplitterError, match="cannot be"):
        database.add(device, False, {"s": {"": 1.0}})
