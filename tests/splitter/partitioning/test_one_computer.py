"""Plans for one computer: the public way in, what is refused, and what verification sees."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from placement_cases import period_ms, random_problem, write_problem

from splitter import Constraints, partition
from splitter.costs import CostTable, LayerCost
from splitter.errors import InfeasibleError, PlanError, SplitterError, TopologyError, UsageError
from splitter.pipeline import _check_plan
from splitter.placement import PlacementProblem, read_placement
from splitter.plan import Objective, Plan, plan_from_dict, plan_to_dict
from splitter.topology_file import save_topology
from splitter.verify import verify


def chain(folder: Path, *, contiguous: bool = True, **changes: object) -> PlacementProblem:
    """Three nodes in a row, 4 ms each on an accelerator; tensors of 1 ms."""
    nodes = [
        {
            "id": i,
            "supportedOnFpga": 1,
            "cpuLatency": 40.0,
            "fpgaLatency": 4.0,
            "isBackwardNode": 0,
            "size": 10,
        }
        for i in range(3)
    ]
    edges = [{"sourceId": i, "destId": i + 1, "cost": 1.0} for i in range(2)]
    data = {"maxSizePerFPGA": 20, "maxFPGAs": 2, "maxCPUs": 1, "nodes": nodes, "edges": edges}
    return read_placement(write_problem(folder, data | changes), contiguous=contiguous)


def planned(read: PlacementProblem, **options: object) -> Plan:
    return partition(
        read.graph,
        read.topology,
        costs=read.costs,
        **{"objective": "throughput", **options},  # type: ignore[arg-type]
    )


def test_transfers_take_the_accelerators_time(tmp_path: Path) -> None:
    plan = planned(chain(tmp_path))
    assert plan.estimate.period_s == pytest.approx(9e-3)
    assert plan.proof.status == "optimal"
    assert plan.proof.bound == plan.estimate.period_s
    assert plan.proof.method == "dynamic programme over down-sets"
    assert "8 ms computing, 1 ms moving" in plan.bottleneck
    singles = {single.device: single for single in plan.alternatives}
    assert singles["cpu0"].value == pytest.approx(0.12)
    assert singles["acc0"].value is None
    assert "MB" in singles["acc0"].reason
    assert singles["memory"].reason == "computes nothing"


def test_a_plan_reads_back(tmp_path: Path) -> None:
    plan = planned(chain(tmp_path))
    assert plan_from_dict(plan_to_dict(plan)) == plan


def test_a_given_placement_is_judged(tmp_path: Path) -> None:
    read = chain(tmp_path)
    plan = planned(read, placement={"n0": "acc0", "n1": "cpu0", "n2": "acc1"})
    assert plan.estimate.period_s == pytest.approx(40e-3)
    assert plan.proof.bound == 0.0
    with pytest.raises(PlanError, match="no order of the devices makes a pipeline"):
        planned(read, placement={"n0": "acc0", "n1": "cpu0", "n2": "acc0"})
    with pytest.raises(PlanError, match="needs 30 bytes, has 20"):
        planned(read, placement=dict.fromkeys(("n0", "n1", "n2"), "acc0"))
    with pytest.raises(PlanError, match="'\\*' is banned"):
        planned(read, placement={"n0": "memory", "n1": "acc0", "n2": "acc0"})
    with pytest.raises(PlanError, match="no device for n2"):
        planned(read, placement={"n0": "acc0", "n1": "acc0"})
    with pytest.raises(PlanError, match="has no device acc9"):
        planned(read, placement={"n0": "acc9", "n1": "acc0", "n2": "acc0"})


def test_rules_of_the_user_hold_too(tmp_path: Path) -> None:
    read = chain(tmp_path)
    pinned = planned(read, constraints=Constraints(pins=(("n1", "cpu0"),)))
    assert pinned.placement["n1"] == "cpu0"
    assert pinned.proof.status == "optimal"
    drained = planned(read, constraints=Constraints(drained=("acc0",)))
    assert set(drained.placement.values()) == {"acc1", "cpu0"}
    kept = planned(read, constraints=Constraints(reserves=(("acc0", 1), ("acc1", 11))))
    assert set(kept.placement.values()) == {"acc0", "cpu0"}
    with pytest.raises(InfeasibleError, match="these rules conflict: the ban of"):
        planned(read, constraints=Constraints(bans=tuple(("n1", d) for d in read.topology.by_name)))


def test_what_does_not_fit_is_infeasible(tmp_path: Path) -> None:
    read = chain(tmp_path, maxCPUs=0, maxFPGAs=1)
    with pytest.raises(InfeasibleError):
        planned(read)
    read = chain(tmp_path, maxCPUs=0, maxSizePerFPGA=9)
    with pytest.raises(InfeasibleError, match="layer n0: 1e-05 MB, more than any device"):
        planned(read)


@pytest.mark.parametrize("objective", ["throughput", "latency"])
def test_a_layer_that_may_run_nowhere_is_named(tmp_path: Path, objective: Objective) -> None:
    read = chain(tmp_path, maxCPUs=0, contiguous=False)
    bans = tuple(("n2", device) for device in ("acc0", "acc1"))
    with pytest.raises(InfeasibleError, match=r"conflict: .*'n2' from acc0 and .*'n2' from acc1;"):
        planned(read, objective=objective, constraints=Constraints(bans=bans))


def test_a_layer_too_large_for_every_call_is_named(tmp_path: Path) -> None:
    read = chain(tmp_path, maxCPUs=0, maxSizePerFPGA=9, contiguous=False)
    with pytest.raises(InfeasibleError, match="layer n0 may not run on a processor"):
        planned(read, objective="latency")


def test_endless_times_cost_no_digits(tmp_path: Path) -> None:
    """A time beyond any plan's is as good as a ban."""
    usual = chain(tmp_path)
    slow = {("n1", device): LayerCost(1e96, "measured") for device in ("acc0", "acc1")}
    costs = CostTable({**usual.costs.entries, **slow})
    plan = planned(replace(usual, costs=costs))
    assert plan.proof.status == "optimal"
    assert plan.placement["n1"] == "cpu0"


def test_what_is_not_known_here_is_refused(tmp_path: Path) -> None:
    read = chain(tmp_path)
    with pytest.raises(PlanError, match="max_devices is not known"):
        planned(read, constraints=Constraints(max_devices=1))
    with pytest.raises(UsageError, match="energy cannot be minimised"):
        partition(read.graph, read.topology, costs=read.costs, objective="energy")
    with pytest.raises(PlanError, match="planned for but not compiled for"):
        _check_plan(read.graph, planned(read), read.topology)
    with pytest.raises(TopologyError, match="not the role processor"):
        save_topology(read.topology, tmp_path / "topology.toml")


def test_faults_of_a_plan_are_found(tmp_path: Path) -> None:
    read = chain(tmp_path)
    plan = planned(read)

    def faults(changed: Plan) -> str:
        rules = read.topology.constraints
        return "; ".join(verify(changed, read.graph, read.topology, read.costs, rules))

    assert faults(plan) == ""
    better = replace(plan, estimate=replace(plan.estimate, period_s=8e-3))
    assert "the period is 0.009, not 0.008" in faults(better)
    assert "the bound" in faults(replace(plan, proof=replace(plan.proof, bound=1.0)))
    assert "never gets there" in faults(replace(plan, transfers=plan.transfers[1:]))
    devices = tuple(replace(d, memory_bytes=d.memory_bytes + 1) for d in plan.estimate.devices)
    heavier = replace(plan, estimate=replace(plan.estimate, devices=devices))
    assert "does not add up" in faults(heavier)


@pytest.mark.parametrize("seed", range(40))
def test_any_placement_costs_what_the_file_says(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    data = random_problem(chance)
    contiguous = chance.random() < 0.5
    read = read_placement(write_problem(tmp_path, data), contiguous=contiguous)
    devices = [d.name for d in read.topology.devices if d.role != "memory"]
    home = {node["id"]: chance.choice(devices) for node in data["nodes"]}
    wanted = period_ms(data, home, contiguous=contiguous)
    placement = {f"n{number}": device for number, device in home.items()}
    if wanted is None:
        with pytest.raises(SplitterError):
            planned(read, placement=placement)
    else:
        found = planned(read, placement=placement).estimate.period_s * 1e3
        assert found == pytest.approx(wanted, rel=1e-9)
