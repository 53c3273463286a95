"""The store of measurements, and cost tables that use it."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitter.cost.measured import ProfileStore, cache_directory, measured_costs
from splitter.cost.roofline import roofline
from splitter.errors import SplitterError
from splitter.graph import Graph, Layer, Tensor
from splitter.topology import Card, Device, Topology

CARD = Card("c", "", "x86_64", "x", 1e9, 1e8, 1e-5, 10**9, 1.0, threads=4)
GRAPH = Graph(
    "g",
    (
        Layer("a", "conv2d", ("x",), ("h",), macs=2_000_000, signature="conv-1"),
        Layer("b", "relu", ("h",), ("y",), signature=""),
    ),
    {name: Tensor(name, (1000,)) for name in ("x", "h", "y")},
    ("x",),
    ("y",),
    {},
)
TOPOLOGY = Topology(
    "t",
    "",
    (
        Device("same", CARD, 10**9, 4),
        Device("fewer_threads", CARD, 10**9, 2),
        Device("other_card", replace(CARD, name="d"), 10**9, 4),
    ),
    (),
    "same",
    "same",
)


def test_measurements_serve_only_the_card_and_threads_they_were_made_on(tmp_path: Path) -> None:
    store = ProfileStore("compiler 1", tmp_path)
    store.add("c", 4, {"conv-1": 0.25})
    table = measured_costs(GRAPH, TOPOLOGY, store)
    sources = {key: cost.source for key, cost in table.entries.items()}
    assert sources.pop(("a", "same")) == "measured"
    assert table.seconds("a", "same") == 0.25
    assert set(sources.values()) == {"roofline"}
    plain = roofline(GRAPH, TOPOLOGY)
    assert all(table[key] == plain[key] for key in sources)


def test_another_compiler_sees_nothing(tmp_path: Path) -> None:
    ProfileStore("compiler 1", tmp_path).add("c", 4, {"conv-1": 0.25})
    assert ProfileStore("compiler 2", tmp_path).seconds("c", 4) == {}


def test_later_measurements_replace_and_join_earlier_ones(tmp_path: Path) -> None:
    store = ProfileStore("compiler 1", tmp_path / "made" / "when_needed")
    store.add("c", 4, {"a": 1.0, "b": 2.0})
    store.add("c", 4, {"b": 3.0, "d": 4.0})
    assert store.seconds("c", 4) == {"a": 1.0, "b": 3.0, "d": 4.0}
    assert len(list(store.directory.iterdir())) == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.dictionaries(st.text(min_size=1), st.floats(0, 1e6), max_size=5))
def test_measurements_come_back_exactly(tmp_path: Path, seconds: dict[str, float]) -> None:
    store = ProfileStore("compiler 1", tmp_path)
    store.path("c", 1).unlink(missing_ok=True)
    store.add("c", 1, seconds)
    assert store.seconds("c", 1) == seconds


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, True])
def test_impossible_measurements_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(SplitterError, match="profile again"):
        ProfileStore("compiler 1", tmp_path).add("c", 4, {"conv-1": value})


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"seconds": 3}',
        "[" * 100_000,
        "<format 2>",
        "<other card>",
        "<negative>",
        "<text>",
    ],
)
def test_damaged_file_is_named_with_a_remedy(tmp_path: Path, damage: str) -> None:
    store = ProfileStore("compiler 1", tmp_path)
    store.add("c", 4, {"conv-1": 0.25})
    path = store.path("c", 4)
    good = path.read_text()
    changes = {
        "<format 2>": ('"format": 1', '"format": 2'),
        "<other card>": ('"card": "c"', '"card": "e"'),
        "<negative>": ("0.25", "-0.25"),
        "<text>": ("0.25", '"0.25"'),
    }
    path.write_text(good.replace(*changes[damage]) if damage in changes else damage)
    with pytest.raises(SplitterError, match="delete it and run `splitter profile` again") as caught:
        measured_costs(GRAPH, TOPOLOGY, store)
    assert str(path) in str(caught.value)


def test_unreadable_and_unwritable_places(tmp_path: Path) -> None:
    store = ProfileStore("compiler 1", tmp_path)
    store.path("c", 4).mkdir()
    with pytest.raises(SplitterError, match="cannot read"):
        store.seconds("c", 4)
    store.path("c", 5).write_bytes(b"\xff")
    with pytest.raises(SplitterError, match="is not text; delete it"):
        store.seconds("c", 5)
    with pytest.raises(SplitterError, match="set SPLITTER_CACHE"):
        ProfileStore("compiler 1", store.path("c", 5) / "x").seconds("c", 1)


def test_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SplitterError, match=r"cannot write .* No space left .* SPLITTER_CACHE"):
        ProfileStore("compiler 1", tmp_path).add("c", 1, {"a": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_cache_directory_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    assert ProfileStore("compiler 1").directory == tmp_path / "profiles"
    monkeypatch.delenv("SPLITTER_CACHE")
    assert cache_directory().name == "splitter"
