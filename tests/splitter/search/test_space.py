"""Spaces: what an architecture is, sampling, edits, text."""

from random import Random

import pytest

from splitter.errors import UsageError
from splitter.search.space.space import Slot, Space, Stage

SPACE = Space(
    "toy",
    (
        Stage("a", (Slot("a0", ("x", "y")), Slot("a1", ("x", "y")), Slot("a2", ("x",))), least=1),
        Stage("b", (Slot("b0", (3, 5)), Slot("b1", (3, 5))), least=0, shared=True),
    ),
)


def test_size_counts_every_architecture_once() -> None:
    every = list(SPACE.all())
    assert len(every) == len(set(every)) == SPACE.size == (2 + 4 + 4) * (1 + 2 + 2)


def test_samples_and_edits_are_architectures() -> None:
    rng = Random(0)
    for _ in range(300):
        one, other = SPACE.random(rng), SPACE.random(rng)
        for made in (one, SPACE.mutated(one, rng), SPACE.crossed(one, other, rng)):
            assert SPACE.faults(made) == []
        assert SPACE.mended(one) == one
        assert SPACE.parse(SPACE.text(one)) == one


def test_pinned_samples_have_the_choice_and_still_vary() -> None:
    rng = Random(1)
    for slot in range(len(SPACE.slots)):
        for choice in range(SPACE.widths[slot]):
            drawn = {SPACE.random(rng, (slot, choice)) for _ in range(60)}
            assert all(a[slot] == choice and not SPACE.faults(a) for a in drawn)
            assert len(drawn) > 1


def test_what_is_no_architecture_is_named() -> None:
    assert "skips a slot before" in SPACE.faults((0, 2, 0, 0, 0))[0]
    assert "share one choice" in SPACE.faults((0, 0, 0, 0, 1))[0]
    assert "no choice 7" in SPACE.faults((7, 0, 0, 0, 0))[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: x x x | b: 3", "has 4 choices"), ("a: x z x | b: 3 3", "no choice 'z'")],
)
def test_bad_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SPACE.parse(text)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((Stage("a", (Slot("s", ("x",)), Slot("s", ("x",)))),), "one name"),
        ((Stage("a", (Slot("s", ()),)),), "without choices"),
        ((Stage("a", (Slot("s", ("x",)),), least=3),), "fewer"),
        ((Stage("a", (Slot("s", (1,)), Slot("t", (2,))), shared=True),), "same choices"),
    ],
)
def test_bad_spaces_are_refused(stages: tuple[Stage, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Space("bad", stages)
