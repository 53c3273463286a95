"""What every way of planning takes: the aim, the rules, and how hard it is tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from splitter.graph import Graph
from splitter.plan import Objective, Plan
from splitter.topology import Constraints, Topology

if TYPE_CHECKING:
    from splitter.costs import CostTable
    from splitter.program import Program


@dataclass(frozen=True, slots=True)
class Effort:
    """One planning question but for the model and the devices."""

    objective: Objective
    constraints: Constraints
    slots: int
    """Requests in flight for which memory is reserved."""
    time_limit_s: float
    roofline: bool
    """Count on the device cards alone, even where layers were measured."""

    @property
    def limits(self) -> dict[str, Any]:
        """The rules and limits, as the functions of `splitter.pipeline` call them."""
        return {
            "constraints": self.constraints,
            "slots": self.slots,
            "time_limit_s": self.time_limit_s,
        }

    def costs(self, graph: Graph, topology: Topology) -> "CostTable":
        """Seconds of every layer on every device."""
        from splitter.pipeline import cost_table

        return cost_table(graph, topology, measured=not self.roofline)

    def plan(
        self,
        program: "Program | Graph",
        topology: Topology,
        *,
        costs: "CostTable | None" = None,
        placement: Mapping[str, str] | None = None,
    ) -> Plan:
        """Search for a plan; or evaluate ``placement``.

        Raises:
            InfeasibleError, PlanError, UsageError: as `splitter.partition`.
        """
        from splitter.pipeline import partition

        graph = program if isinstance(program, Graph) else program.graph
        return partition(
            *(graph, topology),
            objective=self.objective,
            costs=self.costs(graph, topology) if costs is None else costs,
            placement=placement,
            **self.limits,
        )
