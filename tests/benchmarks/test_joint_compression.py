"""The benchmark of joint compression: its controls and what it prints."""

from itertools import product
from pathlib import Path
from random import Random

from benchmarks.joint_compression import cheapest, draw, table_of
from benchmarks.joint_topologies import small_topologies
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.variants import AS_IS, Variant, VariantTable


def test_cheapest_choice_is_that_of_enumeration() -> None:
    random = Random(0)
    variants = {
        layer: (
            Variant(AS_IS, 100, 0, 0.0),
            *(Variant(f"v{k}", random.randint(1, 99), 0, random.random()) for k in range(3)),
        )
        for layer in "abc"
    }
    table = VariantTable(variants, {}, {})
    price = {(n, one.name): float(one.weight_bytes) for n, own in variants.items() for one in own}
    for allowance in (0.0, 0.5, 1.0, 3.0):
        choice = cheapest(table, price, allowance)
        best = min(
            sum(one.weight_bytes for one in picked)
            for picked in product(*variants.values())
            if sum(one.accuracy_drop for one in picked) <= allowance
        )
        assert sum(price[key] for key in choice.items()) == best


def test_first_devices_are_small() -> None:
    for topology in small_topologies(1_000_000):
        assert topology.devices[0].memory_bytes < NODE_OVERHEAD_BYTES + 500_000
        assert topology.source == topology.sink == topology.devices[0].name


def test_table_and_picture(tmp_path: Path) -> None:
    row = {
        "topology": "t", "way": "joint", "latency_ms": 2.0, "predicted_drop": 1.0,
        "held_in_drop": 0.5, "held_in_error": 0.5, "test_drop": 0.4, "test_error": 0.3,
        "chosen": True, "stored_bytes": 1000, "macs": 10**6,
    }  # fmt: skip
    rows = [row, {**row, "chosen": False}]
    assert table_of(rows).row_count == 1
    draw(rows, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
