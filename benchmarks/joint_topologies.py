"""Topologies whose first device cannot hold the network in float."""

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.topology import Constraints, Device, Link, Topology
from splitter.topology_file import load_card

_MBIT = 125_000.0


def small_topologies(weight_bytes: int) -> tuple[Topology, ...]:
    """Four for a network of so many bytes.

    The raw image must stay where it is taken, and the answer is wanted there.
    """
    return (
        _topology(
            "board_hub",
            (
                _device("board", "armv7_board", int(0.37 * weight_bytes)),
                _device("hub", "raspberry_pi_5"),
            ),
            (("board", "hub", 2.0, 5.0),),
        ),
        _topology(
            "phone_edge_cloud",
            (
                _device("phone", "raspberry_pi_4", int(0.28 * weight_bytes)),
                _device("edge", "edge_server"),
                _device("cloud", "cloud"),
            ),
            (("phone", "edge", 20.0, 2.0), ("edge", "cloud", 500.0, 10.0)),
        ),
        _topology(
            "two_boards_hub",
            (
                _device("camera", "armv7_board", int(0.2 * weight_bytes)),
                _device("board", "armv7_board", int(0.46 * weight_bytes)),
                _device("hub", "raspberry_pi_4"),
            ),
            (("camera", "board", 20.0, 1.0), ("board", "hub", 5.0, 4.0)),
        ),
        _topology(
            "watch_phone_cloud",
            (
                _device("watch", "riscv_board", int(0.25 * weight_bytes)),
                _device("phone", "phone_midrange"),
                _device("cloud", "cloud"),
            ),
            (("watch", "phone", 1.0, 10.0), ("phone", "cloud", 20.0, 25.0)),
        ),
    )


def _topology(
    name: str, devices: tuple[Device, ...], links: tuple[tuple[str, str, float, float], ...]
) -> Topology:
    both = [
        Link(start, end, mbit_s * _MBIT, ms / 1e3)
        for a, b, mbit_s, ms in links
        for start, end in ((a, b), (b, a))
    ]
    first = devices[0].name
    return Topology(name, "", devices, tuple(both), first, first, Constraints(private_input=True))


def _device(name: str, card_name: str, room_bytes: int | None = None) -> Device:
    """One thread of a device; with ``room_bytes`` there is so much for weights and activations."""
    card = load_card(card_name)
    memory = card.memory_bytes if room_bytes is None else NODE_OVERHEAD_BYTES + room_bytes
    return Device(name, card, memory, 1)
