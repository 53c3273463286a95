"""Choices of variants to begin with."""

from itertools import product
from random import Random

from splitter.costs import LayerCost
from splitter.partitioning.joint.start import (
    bytes_of,
    cheapest,
    distinct,
    first_choices,
    mixed_choices,
    picks_of,
)
from splitter.topology import Device, Topology
from splitter.topology_file import load_card
from splitter.variants import AS_IS, Variant, VariantTable


def table(seed: int) -> VariantTable:
    random = Random(seed)
    variants = {
        layer: (
            Variant(AS_IS, 100, 0, 0.0),
            *(Variant(f"v{k}", random.randint(1, 99), 0, random.random()) for k in range(3)),
        )
        for layer in "abc"
    }
    entries = {
        (layer, one.name, device): LayerCost(random.random(), "roofline")
        for layer, own in variants.items()
        for one in own
        for device in ("d", "e")
    }
    return VariantTable(variants, {}, entries)


def test_cheapest_choice_is_that_of_enumeration() -> None:
    given = table(0)
    for allowance in (0.0, 0.5, 1.0, 3.0):
        choice = cheapest(given, bytes_of(given), allowance)
        best = min(
            sum(one.weight_bytes for one in picked)
            for picked in product(*given.variants.values())
            if sum(one.accuracy_drop for one in picked) <= allowance
        )
        assert sum(bytes_of(given)[key] for key in choice.items()) == best


def test_begins_with_the_best_for_bytes_and_for_each_device() -> None:
    given, card = table(1), load_card("raspberry_pi_5")
    devices = tuple(Device(name, card, card.memory_bytes, 1) for name in ("d", "e"))
    topology = Topology("two", "", devices, (), "d", "d")
    as_is, smallest, *fastest = first_choices(given, topology, 1.0)
    assert as_is == dict.fromkeys("abc", AS_IS)
    assert smallest == cheapest(given, bytes_of(given), 1.0)
    for device, choice in zip("de", fastest, strict=True):
        seconds = {key[:2]: cost.seconds for key, cost in given.entries.items() if key[2] == device}
        assert choice == cheapest(given, seconds, 1.0)


def test_mixtures_lie_between_few_seconds_and_few_bytes() -> None:
    given, card = table(1), load_card("raspberry_pi_5")
    devices = tuple(Device(name, card, card.memory_bytes, 1) for name in ("d", "e"))
    topology = Topology("two", "", devices, (), "d", "d")
    found = list(distinct(mixed_choices(given, topology, 1.0)))
    assert found
    assert all(found.count(choice) == 1 for choice in found)
    least = sum(bytes_of(given)[key] for key in cheapest(given, bytes_of(given), 1.0).items())
    for choice in found:
        assert sum(given.variant(*key).accuracy_drop for key in choice.items()) <= 1.0 + 1e-6
        assert sum(bytes_of(given)[key] for key in choice.items()) >= least


def test_nothing_to_choose() -> None:
    assert cheapest(VariantTable({}, {}, {}), {}, 1.0) == {}


def test_picks_are_numbers_of_variants() -> None:
    assert picks_of(["a", "x", "c"], table(0), {"a": "v1", "b": AS_IS, "c": AS_IS}) == (2, 0, 0)
