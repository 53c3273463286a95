"""The JSON form of plans."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitter.errors import PlanError
from splitter.plan import Plan, plan_from_dict, plan_to_dict

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=30, deadline=None)
@given(st.from_type(Plan))
def test_json_inverts(plan: Plan) -> None:
    assert plan_from_dict(json.loads(json.dumps(plan_to_dict(plan)))) == plan


def example() -> dict[str, object]:
    golden = Path(__file__).with_name("plan_example.json")
    data = json.loads(golden.read_text())
    assert isinstance(data, dict)
    return data


def test_golden_plan_reads() -> None:
    data = example()
    assert plan_to_dict(plan_from_dict(data)) == data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("objective",), "speed", "plan.objective must be one of latency, throughput, energy"),
        (("slots",), 1.5, "plan.slots must be a whole number, not 1.5"),
        (("slots",), True, "plan.slots must be a whole number, not True"),
        (("placement",), [], "plan.placement must be an object, not list"),
        (("placement", "l0"), 3, "plan.placement.l0 must be a string, not 3"),
        (("estimate", "latency_s"), "fast", "plan.estimate.latency_s must be a finite number"),
        (("estimate", "devices", 0, "layers"), None, "plan.estimate.devices[0].layers must be"),
        (("proof", "gap"), float("nan"), "plan.proof.gap must be a finite number, not nan"),
        (("version",), 2, "format version 2, this program reads 1"),
    ],
)
def test_wrong_value_is_named(path: tuple[str | int, ...], value: object, message: str) -> None:
    data = example()
    place: object = data
    for key in path[:-1]:
        place = place[key]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    with pytest.raises(PlanError) as caught:
        plan_from_dict(data)
    assert message in str(caught.value)


def test_missing_and_unknown_keys_are_named() -> None:
    data = example()
    del data["bottleneck"]
    with pytest.raises(PlanError, match="plan has no key 'bottleneck'"):
        plan_from_dict(data)
    with pytest.raises(PlanError, match="plan has an unknown key 'colour'"):
        plan_from_dict({**example(), "colour": "red"})
    with pytest.raises(PlanError, match="a plan is a JSON object, not list"):
        plan_from_dict([])
