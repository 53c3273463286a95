"""Rules in files and their way back; what the user wrote stays with each."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.constraints import Constraints
from splitter.constraints_file import load_constraints, parse_rule
from splitter.errors import TopologyError, UsageError
from splitter.topology_file import load_topology, save_topology

EVERY = """
private_input = true
contiguous = true
max_sent_mb = 0.5
max_devices = 2
max_cuts = 3
pins = [{ layers = "a*", device = "hub" }]
bans = [{ layers = "b*", device = "camera" }]
together = [["a", "b.*"], ["c*"]]
apart = [["a", "c"]]
drained = ["hub"]
no_relay = ["hub"]
without = ["hub"]
optional = ["hub"]
link_caps = [{ from = "camera", to = "hub", max_mb = 0.1 }]
energy_caps = [{ device = "hub", max_mj = 1.5 }]
reserves = [{ device = "hub", memory_mb = 2 }]
at_most = { latency_ms = 50, period_ms = 20, energy_mj = 3, memory_mb = 9, dollars = 0.001 }
"""
READ = Constraints(
    pins=(("a*", "hub"),),
    bans=(("b*", "camera"),),
    private_input=True,
    max_sent_bytes=500_000,
    together=(("a", "b.*"), ("c*",)),
    contiguous=True,
    apart=(("a", "c"),),
    max_devices=2,
    max_cuts=3,
    link_caps=(("camera", "hub", 100_000),),
    energy_caps=(("hub", 0.0015),),
    reserves=(("hub", 2_000_000),),
    drained=("hub",),
    no_relay=("hub",),
    without=("hub",),
    optional=("hub",),
    at_most=(
        ("latency", 0.05),
        ("throughput", 0.02),
        ("energy", 0.003),
        ("memory", 9e6),
        ("dollars", 0.001),
    ),
)


def test_every_key_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(EVERY)
    found = load_constraints(file)
    assert found == READ
    listed = found.listed()
    assert len(listed) == 22
    assert len({rule.key[0] for rule in listed}) == 17
    assert all(rule.origin.startswith("mine.toml: ") for rule in listed)
    words = [str(rule) for rule in listed]
    assert "at most 2 devices (mine.toml: max_devices = 2)" in words
    assert 'the pin of \'a*\' to hub (mine.toml: pins: {layers = "a*", device = "hub"})' in words
    assert "the limit of 50 ms on the latency (mine.toml: at_most: latency_ms = 50)" in words


def test_saved_with_a_topology_and_read_again(tmp_path: Path) -> None:
    topology = replace(load_topology("loopback3"), constraints=replace(READ, optional=()))
    save_topology(topology, tmp_path / "t.toml")
    assert load_topology(tmp_path / "t.toml") == topology


def test_rules_of_devices_and_links(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "topologies/loopback3.toml").read_text()
    text = text.replace(
        'name = "hub"\n',
        'name = "hub"\nreserve_mb = 1\nmax_energy_mj = 2\ndrained = true\noptional = true\n'
        "relay = false\ndollars_per_hour = 0.5\n",
    )
    text += "max_mb = 0.25\ndollars_per_gb = 0.02\n"
    (tmp_path / "t.toml").write_text(text)
    topology = load_topology(tmp_path / "t.toml")
    rules = topology.constraints
    assert rules.reserves == (("hub", 1_000_000),)
    assert rules.energy_caps == (("hub", 0.002),)
    assert rules.drained == rules.optional == rules.no_relay == ("hub",)
    assert rules.link_caps == (("camera", "server", 250_000), ("server", "camera", 250_000))
    assert topology.by_name["hub"].dollars_per_hour == 0.5
    assert topology.link_between["server", "camera"].dollars_per_byte == 2e-11
    origins = {rule.key[0]: rule.origin for rule in rules.listed()}
    assert origins["reserves"] == 't.toml: device "hub": reserve_mb = 1'
    assert origins["link_caps"] == "t.toml: link server -> camera: max_mb = 0.25"
    save_topology(topology, tmp_path / "again.toml")
    assert load_topology(tmp_path / "again.toml") == topology


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("max_devices = 1.5", "max_devices = 1.5: must be a integer"),
        ("max_cuts = -1", "max_cuts = -1: must be greater than or equal to 0"),
        ("together = [[]]", "together 1 = []: "),
        ("together = ['a']", 'together 1 = "a": must be a list'),
        ("at_most.speed = 1", "at_most, speed is not a known key"),
        ("reserves = [{ device = 'a' }]", "reserves 1, memory_mb is missing; add it"),
        ("drained = [1]", "drained 1 = 1: must be a text in quotes"),
        ("private_input", "is not valid TOML"),
    ],
)
def test_malformed_rules_are_told(text: str, fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rule(text, "--rule")
    assert str(caught.value).startswith("--rule ")
    assert fault in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: no such file"):
        load_constraints(tmp_path / "none.toml")


def test_optional_ends_and_impossible_values_are_refused(tmp_path: Path) -> None:
    topology = load_topology("loopback3")
    wrong = Constraints(optional=("camera",), at_most=(("speed", 1.0),), apart=(("", "a"),))
    with pytest.raises(TopologyError) as caught:
        save_topology(replace(topology, constraints=wrong), tmp_path / "t.toml")
    for part in ('"camera" is optional', 'limit on "speed"', "rule of apart has an empty pattern"):
        assert part in str(caught.value)


@given(st.lists(st.sampled_from(READ.listed()), unique=True))
def test_any_part_of_the_rules(kept: list[object]) -> None:
    keys = [rule.key for rule in READ.listed() if rule in kept]
    part = READ.only(keys)
    assert [rule.key for rule in part.listed()] == keys
    assert part + READ.only([r.key for r in READ.listed() if r.key not in keys]) + part
    assert Constraints() + part == part
