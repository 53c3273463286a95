"""Drawing a topology, and its JSON form."""

import json
from dataclasses import replace

from rich.console import Console

from splitter.topology import Constraints, Topology
from splitter.topology_file import load_topology
from splitter.topology_view import draw, to_dict


def _drawn(topology: Topology) -> str:
    console = Console(width=80, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(draw(topology))
    return captured.get()


def test_drawing_shows_devices_links_and_ends() -> None:
    text = _drawn(load_topology("phone_edge_cloud"))
    assert "phone_midrange" in text
    assert "The input is born on phone, the result is wanted on phone." in text
    assert "edge <-> cloud" in text
    assert "phone --> edge" in text
    assert "80 Mbit/s" in text
    assert "2265 nJ/B" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_drawing_shows_threads_in_use() -> None:
    text = _drawn(load_topology("loopback3"))
    assert "33.6" in text  # one of two threads: half of 2 x 33.6 GFLOP/s
    assert "13 MB" in text


def test_drawing_shows_constraints_literally() -> None:
    limits = Constraints((("block[0].*", "hub"),), (("fc", "camera"),), True, 1500)
    text = _drawn(replace(load_topology("loopback3"), constraints=limits))
    assert "the raw input stays where it is born" in text
    assert "at most 1.5 kB sent per request" in text
    assert "layers block[0].* run on hub" in text
    assert "layers fc never run on camera" in text


def test_json_form_is_json_in_si_units() -> None:
    data = json.loads(json.dumps(to_dict(load_topology("loopback3"))))
    assert data["devices"][0]["card"]["macs_per_s"] == 33.6e9
    assert data["links"][0]["bandwidth_bytes_per_s"] == 1e9
    assert data["source"] == "camera"


def test_drawing_shows_ends_media_and_replicas() -> None:
    plain = load_topology("phone_edge_cloud")
    text = _drawn(
        replace(
            plain,
            links=tuple(replace(link, shared="wifi") for link in plain.links),
            sources=(("depth", "edge"),),
            sinks=(("boxes", "cloud"),),
            replicas=True,
        )
    )
    assert "Input depth is born on edge." in text
    assert "Output boxes is wanted on cloud." in text
    assert "Equal devices may take turns at one part." in text
    assert "edge <-> cloud (wifi)" in text
    assert "cloud (out)" in text


def test_a_device_that_only_another_source_reaches_is_drawn() -> None:
    plain = load_topology("phone_edge_cloud")
    links = tuple(k for k in plain.links if (k.source, k.target) == ("cloud", "edge"))
    text = _drawn(replace(plain, links=links, sources=(("depth", "cloud"),)))
    assert text.index("cloud (in)") < text.index("edge: ")
