"""Reading and writing topology files: values, units, round trips and every kind of bad input."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitter.errors import TopologyError
from splitter.topology import PROCESSORS, Card, Constraints, Device, Link, Topology
from splitter.topology_file import load_card, load_topology, save_topology
from splitter.topology_schema import TopologyTable, read_table

GOOD = """
name = "pair"
description = "two devices"
input = "phone"
output = "edge"

[constraints]
private_input = true
max_sent_mb = 1.5

[[devices]]
name = "phone"
card = "phone_midrange"
memory_mb = 12.5
threads = 2
pin = ["features.0.*"]
ban = ["classifier*", "features.9"]

[[devices]]
name = "edge"
card = "board"
host = "::1"
port = 7000

[[links]]
between = ["phone", "edge"]
bandwidth_mbit_s = 80
latency_ms = 0.1
energy_nj_per_byte = 2265

[cards.board]
description = "a board"
processor = "armv7"
mcpu = "cortex-a7"
mattr = ["+neon"]
gmacs_per_s = 0.7
memory_gb_per_s = 1.4
call_overhead_us = 30
memory_mb = 800
active_w = 1.5
"""


def _load(tmp_path: Path, text: str) -> Topology:
    file = tmp_path / "t.toml"
    file.write_text(text)
    return load_topology(file)


def test_units_become_si(tmp_path: Path) -> None:
    topology = _load(tmp_path, GOOD)
    phone, edge = topology.devices
    assert (phone.memory_bytes, phone.threads, phone.host, phone.port) == (
        12_500_000,
        2,
        "127.0.0.1",
        0,
    )
    assert (edge.memory_bytes, edge.threads, edge.host, edge.port) == (800_000_000, 1, "::1", 7000)
    assert edge.card == Card(
        name="board",
        description="a board",
        processor="armv7",
        mcpu="cortex-a7",
        macs_per_s=0.7e9,
        memory_bytes_per_s=1.4e9,
        call_overhead_s=30e-6,
        memory_bytes=800_000_000,
        active_w=1.5,
        mattr=("+neon",),
    )
    there = Link("phone", "edge", 10e6, 100e-6, 2265e-9)
    assert topology.links == (there, Link("edge", "phone", 10e6, 100e-6, 2265e-9))
    assert (topology.source, topology.sink) == ("phone", "edge")
    assert topology.constraints == Constraints(
        pins=(("features.0.*", "phone"),),
        bans=(("classifier*", "phone"), ("features.9", "phone")),
        private_input=True,
        max_sent_bytes=1_500_000,
    )


def test_one_way_links(tmp_path: Path) -> None:
    text = GOOD.replace('between = ["phone", "edge"]', 'from = "phone"\nto = "edge"')
    assert [(k.source, k.target) for k in _load(tmp_path, text).links] == [("phone", "edge")]


def test_card_file_is_found_beside_the_topology(tmp_path: Path) -> None:
    head, card = GOOD.split("[cards.board]")
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "my_board.toml").write_text(card)
    topology = _load(tmp_path, head.replace('"board"', '"cards/my_board.toml"'))
    assert topology.by_name["edge"].card.name == "my_board"


def test_own_card_hides_a_shipped_one(tmp_path: Path) -> None:
    text = GOOD.replace('card = "board"', 'card = "cloud"').replace(
        "[cards.board]", "[cards.cloud]"
    )
    assert _load(tmp_path, text).by_name["edge"].card.processor == "armv7"


# (what to replace, by what, everything that the message must contain)
_BAD = {
    "unknown key": ("memory_mb = 12.5", "memroy_mb = 12.5", ['devices 1 ("phone"), memroy_mb']),
    "key suggestion": ("memory_mb = 12.5", "memroy_mb = 12.5", ['did you mean "memory_mb"']),
    "unknown top key": ('input = "phone"', 'inptu = "phone"', ["inptu", 'did you mean "input"']),
    "missing key": ("latency_ms = 0.1", "", ["links 1, latency_ms is missing"]),
    "unknown card": ('"phone_midrange"', '"phone_midrnage"', ["device phone", '"phone_midrange"']),
    "unknown input": ('input = "phone"', 'input = "phnoe"', ["input", '"phnoe"', '"phone"']),
    "unknown end": ('"phone", "edge"]', '"phone", "egde"]', ["phone -> egde", 'mean "edge"']),
    "self link": (
        '"phone", "edge"]',
        '"phone", "phone"]',
        [': link phone -> phone joins device "phone" to itself'],
    ),
    "three ends": ('"phone", "edge"]', '"phone", "edge", "x"]', ["links 1", "between ="]),
    "both forms": ('between = ["phone', 'to = "edge"\nbetween = ["phone', ["links 1", "from ="]),
    "reserved name": ('name = "edge"', 'name = "host"', ['"host"', "rename"]),
    "bad name": ('name = "edge"', 'name = "Edge 1"', ['"Edge 1"', "lower-case"]),
    "same name": ('name = "edge"', 'name = "phone"', ['"phone" is there twice']),
    "zero bandwidth": (
        "bandwidth_mbit_s = 80",
        "bandwidth_mbit_s = 0",
        ["= 0: must be", "above 0"],
    ),
    "negative latency": ("latency_ms = 0.1", "latency_ms = -1", ["latency_ms = -1"]),
    "infinite": ("latency_ms = 0.1", "latency_ms = inf", ["finite"]),
    "huge": ("latency_ms = 0.1", "latency_ms = 1e999999999999999999999", ["finite"]),
    "text for number": ("latency_ms = 0.1", 'latency_ms = "fast"', ['"fast"', "must be a number"]),
    "true for number": ("latency_ms = 0.1", "latency_ms = true", ["must be a number"]),
    "number for text": ('name = "pair"', "name = 3", ["name = 3", "text in quotes"]),
    "text for flag": ("private_input = true", 'private_input = "yes"', ["private_input", '"yes"']),
    "no threads": ("threads = 2", "threads = 0", ["threads = 0"]),
    "too many threads": ("threads = 2", "threads = 99", ["99 threads", "1 to 4"]),
    "too much memory": ("memory_mb = 12.5", "memory_mb = 9999", ["9999 MB", "1000 MB"]),
    "bad port": ("port = 7000", "port = 70000", ["port = 70000"]),
    "bad host": ('host = "::1"', 'host = "my.server"', ["my.server", "IPv4"]),
    "bad processor": ('"armv7"', '"armv8"', ['"armv8"', 'did you mean "armv7"']),
    "bad vector": ('mcpu = "cort', 'vector_bytes = 7\nmcpu = "cort', ["vector_bytes = 7"]),
    "bad toml": ("port = 7000", "port = = 7000", ["not valid TOML", "line 23"]),
    "no devices": (GOOD[GOOD.index("[[dev") : GOOD.index("[[links")], "", ["devices is missing"]),
    "no links": (
        GOOD[GOOD.index("[[links") : GOOD.index("[cards")],
        "",
        ["from the input", "edge"],
    ),
}


@pytest.mark.parametrize("case", _BAD)
def test_bad_file_is_one_clear_message(tmp_path: Path, case: str) -> None:
    old, new, words = _BAD[case]
    assert old in GOOD
    with pytest.raises(TopologyError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/t.toml: ")
    for word in words:
        assert word in message


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("latency_ms = 0.1", "latency_ms = -1").replace("port = 7000", "prot = 1")
    with pytest.raises(TopologyError, match=r"2 faults:\n.*prot.*\n.*latency_ms"):
        _load(tmp_path, text)


def test_one_way_dead_end_is_named(tmp_path: Path) -> None:
    text = GOOD.replace('between = ["phone", "edge"]', 'from = "edge"\nto = "phone"')
    with pytest.raises(TopologyError, match=r'from the input "phone" to "edge"'):
        _load(tmp_path, text)


def test_two_links_of_one_direction(tmp_path: Path) -> None:
    again = '[[links]]\nfrom = "edge"\nto = "phone"\nbandwidth_mbit_s = 1\nlatency_ms = 1\n'
    with pytest.raises(TopologyError, match="edge -> phone is there twice"):
        _load(tmp_path, GOOD.replace("[cards", again + "[cards"))


def test_two_devices_on_one_port(tmp_path: Path) -> None:
    text = GOOD.replace("threads = 2", 'host = "::1"\nport = 7000')
    with pytest.raises(TopologyError, match="two devices listen on ::1:7000"):
        _load(tmp_path, text)


def test_two_cards_of_one_name(tmp_path: Path) -> None:
    head, card = GOOD.split("[cards.board]")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.toml").write_text(
            card.replace("800", "800" if folder == "a" else "9")
        )
    text = head.replace('"board"', '"a/c.toml"').replace('"phone_midrange"', '"b/c.toml"')
    text = text.replace("memory_mb = 12.5\nthreads = 2", "memory_mb = 5")
    with pytest.raises(TopologyError, match='two different cards are called "c"'):
        _load(tmp_path, text)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(
        TopologyError, match=r'no topology is called "lopback3"; did you mean "loopb'
    ):
        load_topology("lopback3")
    with pytest.raises(
        TopologyError, match=r'no card is called "rasberry_pi_5"; did you mean "rasp'
    ):
        load_card("rasberry_pi_5")
    with pytest.raises(TopologyError, match=r'no topology is called ""'):
        load_topology("")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"absent\.toml: no such file"):
        load_topology(tmp_path / "absent.toml")
    with pytest.raises(TopologyError, match="cannot be read"):
        load_topology(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(TopologyError, match="not UTF-8"):
        load_topology(str(tmp_path / "latin.toml"))


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="cannot write the topology"):
        save_topology(load_topology("loopback3"), tmp_path / "absent" / "t.toml")


def test_unsound_topology_is_not_saved(tmp_path: Path) -> None:
    good = load_topology("loopback3")
    bad = {
        'input: no device is called "nobody"': replace(good, source="nobody"),
        "has no name": replace(good, name=" "),
        "empty pattern": replace(good, constraints=Constraints(pins=(("", "hub"),))),
        "all finite": replace(
            good, links=(replace(good.links[0], latency_s=float("inf")), *good.links[1:])
        ),
        "mcpu is empty": replace(
            good,
            devices=tuple(replace(d, card=replace(d.card, mcpu="")) for d in good.devices),
        ),
    }
    for words, topology in bad.items():
        with pytest.raises(TopologyError, match=words):
            save_topology(topology, tmp_path / "t.toml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["loopback3", "home", "phone_edge_cloud", "camera_chain", "boards"]
)
def test_shipped_topologies_round_trip(tmp_path: Path, name: str) -> None:
    topology = load_topology(name)
    save_topology(topology, tmp_path / "t.toml")
    assert load_topology(tmp_path / "t.toml") == topology
    assert [file.name for file in tmp_path.iterdir()] == ["t.toml"]


# --- properties

_names = st.from_regex(r"[a-z][a-z0-9_-]{0,12}", fullmatch=True).filter(lambda name: name != "host")
_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    str.strip
)
_rates = st.floats(1e-3, 1e14)
_small = st.just(0.0) | st.floats(1e-12, 1e3)

_cards = st.builds(
    Card,
    name=_names,
    description=_texts,
    processor=st.sampled_from(PROCESSORS),
    mcpu=_texts,
    macs_per_s=_rates,
    memory_bytes_per_s=_rates,
    call_overhead_s=_small,
    memory_bytes=st.integers(1, 2**48),
    active_w=_small,
    mattr=st.lists(_texts, max_size=2).map(tuple),
    threads=st.integers(1, 64),
    vector_bytes=st.sampled_from([4, 16, 32, 64]),
)


@st.composite
def _topologies(draw: st.DrawFn) -> Topology:
    cards = draw(st.lists(_cards, min_size=1, max_size=3, unique_by=lambda card: card.name))
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    devices = tuple(
        Device(
            name,
            card := draw(st.sampled_from(cards)),
            draw(st.integers(1, card.memory_bytes)),
            draw(st.integers(1, card.threads)),
            draw(st.sampled_from(["127.0.0.1", "localhost", "::1", "10.0.0.7"])),
            draw(st.just(0) | st.just(1000 + i)),
        )
        for i, name in enumerate(names)
    )
    ring = zip(names, [*names[1:], names[0]], strict=True)
    links = tuple(Link(a, b, draw(_rates), draw(_small), draw(_small)) for a, b in ring if a != b)
    rules = st.lists(st.tuples(_texts, st.sampled_from(names)), max_size=2).map(tuple)
    constraints = Constraints(
        draw(rules), draw(rules), draw(st.booleans()), draw(st.none() | st.integers(0, 2**40))
    )
    ends = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    return Topology(draw(_texts), draw(st.just("") | _texts), devices, links, *ends, constraints)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(topology=_topologies())
def test_save_then_load_gives_an_equal_topology(tmp_path: Path, topology: Topology) -> None:
    save_topology(topology, tmp_path / "t.toml")
    assert load_topology(tmp_path / "t.toml") == topology


_lines = st.lists(st.sampled_from([*GOOD.splitlines(), "= 3", "[[devices]]", "x = [[[", "]"]))
_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
_trees = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*TopologyTable.model_fields, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=_lines)
def test_any_text_loads_or_is_refused(tmp_path: Path, lines: list[str]) -> None:
    with suppress(TopologyError):
        _load(tmp_path, "\n".join(lines))


@settings(max_examples=100, deadline=None)
@given(data=st.dictionaries(st.sampled_from([*TopologyTable.model_fields, "x"]), _trees))
def test_any_tree_is_read_or_every_fault_is_in_words(data: dict[str, object]) -> None:
    table, faults = read_table(TopologyTable, data)
    assert (table is None) == bool(faults)


SCATTERED = GOOD.replace(
    'output = "edge"',
    """output = "edge"
replicas = true
sources = { depth = "edge" }
sinks = { boxes = "phone", "mask.0" = "edge" }""",
).replace("latency_ms = 0.1", 'latency_ms = 0.1\nshared = "wifi"')


def test_ends_shared_media_and_replicas(tmp_path: Path) -> None:
    topology = _load(tmp_path, SCATTERED)
    assert topology.replicas
    assert topology.sources == (("depth", "edge"),)
    assert [topology.source_of(name) for name in ("depth", "image")] == ["edge", "phone"]
    assert [topology.sink_of(name) for name in ("boxes", "mask.0", "x")] == [
        "phone",
        "edge",
        "edge",
    ]
    assert {link.medium for link in topology.links} == {"wifi"}
    save_topology(topology, tmp_path / "saved.toml")
    assert load_topology(tmp_path / "saved.toml") == topology


def test_a_link_of_its_own_is_its_own_medium(tmp_path: Path) -> None:
    topology = _load(tmp_path, GOOD)
    assert [link.medium for link in topology.links] == ["phone -> edge", "edge -> phone"]
    assert (topology.sources, topology.sinks, topology.replicas) == ((), (), False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('depth = "edge"', 'depth = "egde"', 'source of "depth": no device is called "egde"'),
        ('boxes = "phone"', "boxes = 3", "must be a text in quotes"),
        ("replicas = true", 'replicas = "yes"', "replicas"),
        ('shared = "wifi"', 'shared = ""', "must be a text in quotes, and not empty"),
    ],
)
def test_bad_ends_are_told(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        _load(tmp_path, SCATTERED.replace(old, new))
    assert message in str(caught.value)
