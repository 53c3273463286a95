"""What training leaves of a predicted loss, by kind of form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.recipe import Recipe
from compress.recovery import (
    TRIAL_POINTS,
    Trial,
    after_training,
    kind_of,
    left_after_training,
    trial_choices,
    try_kinds,
)
from compress.sensitivity import Loss, Sensitivity
from splitter.cost.variants import Candidate
from splitter.variants import AS_IS, Variant

SLQ, SLQ3, MLQ = "slq:bits=4", "slq:bits=3", "mlq"
BOTH = "trp:rank=4 + slq:bits=4"


def candidate(name: str, size: int, drop: float) -> Candidate:
    return Candidate(Variant(name, size, 0, drop), 100)


def sensitivity(*drops: float) -> Sensitivity:
    """Layers whose ternary form loses ``drops``; codebooks lose a tenth and a fifth of it."""
    return Sensitivity(
        {
            f"l{i}": (
                candidate(AS_IS, 1000, 0.0),
                candidate(SLQ, 130, drop / 10),
                candidate(SLQ3, 100, drop / 5),
                candidate(MLQ, 50, drop),
                candidate(BOTH, 60, drop / 2),
            )
            for i, drop in enumerate(drops)
        },
        {f"l{i}": f"l{i}.weight" for i in range(len(drops))},
    )


def trial(kind: str, predicted: float, points: float, error: float = 0.1) -> Trial:
    return Trial(kind, {}, predicted, Loss(points, error))


def test_kinds() -> None:
    assert kind_of(SLQ) == kind_of(SLQ3) == "slq"
    assert kind_of(MLQ) == "mlq"
    assert kind_of(BOTH) == "trp + slq"


def test_smallest_forms_of_the_least_harmed_layers_are_tried() -> None:
    found = trial_choices(sensitivity(20.0, 5.0, 12.0))
    assert found == {
        "slq": {"l0": SLQ3, "l1": SLQ3, "l2": SLQ3},
        "mlq": {"l0": AS_IS, "l1": MLQ, "l2": MLQ},
        "trp + slq": {"l0": BOTH, "l1": BOTH, "l2": BOTH},
    }
    alone = trial_choices(sensitivity(2 * TRIAL_POINTS))
    assert alone["mlq"] == {"l0": MLQ}, "a kind is tried on one layer at least"


def test_every_kind_is_trained_once() -> None:
    recipes: list[Recipe] = []

    def trained_loss(recipe: Recipe) -> Loss:
        recipes.append(recipe)
        return Loss(float(len(recipes)))

    found = list(try_kinds(sensitivity(1.0, 2.0), trained_loss, steps=8))
    assert [one.kind for one in found] == ["slq", "mlq", "trp + slq"]
    assert [one.predicted_points for one in found] == pytest.approx([0.6, 3.0, 1.5])
    assert [one.loss.points for one in found] == [1.0, 2.0, 3.0]
    assert len(recipes) == 3


def test_the_measurement_counts_where_it_is_sharp() -> None:
    sharp = left_after_training([trial("slq", 10, 0.2, 0.001), trial("mlq", 10, 2.0, 0.001)])
    assert sharp["slq"] == pytest.approx(0.02, rel=0.01)
    assert sharp["mlq"] == pytest.approx(0.2, rel=0.01)
    blurred = left_after_training([trial("slq", 10, 0.2, 50.0), trial("mlq", 10, 2.0, 50.0)])
    assert blurred["slq"] == pytest.approx(blurred["mlq"], rel=0.1)


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(-5, 80), st.floats(0, 5)), min_size=1, max_size=5
    )
)
def test_shares_are_positive_and_keep_the_order(rows: list[tuple[float, float, float]]) -> None:
    trials = [trial(f"k{i}", *row) for i, row in enumerate(rows)]
    shares = left_after_training(trials)
    assert all(share > 0 for share in shares.values())
    known = Sensitivity(
        {"a": (candidate(AS_IS, 9, 0.0), candidate("k0", 1, 2.0), candidate("k0:x=1", 1, 3.0))},
        {"a": "a.weight"},
    )
    scaled = [one.variant.accuracy_drop for one in after_training(known, trials).candidates["a"]]
    assert scaled[0] == 0.0
    assert scaled == sorted(scaled)


def test_kinds_that_were_not_tried_keep_their_loss() -> None:
    known = sensitivity(4.0)
    assert after_training(known, ()) == known
