"""Ways of choosing rank, bits and split, as functions of the allowed sum of accuracy changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compress.joint_choice import JointRequest, choose
from compress.recipe import exactly
from compress.sensitivity import Sensitivity
from splitter.errors import InfeasibleError
from splitter.partitioning import partition
from splitter.partitioning.joint import partition_jointly
from splitter.partitioning.joint.start import bytes_of, cheapest
from splitter.program import Program
from splitter.topology import Constraints
from splitter.variants import VariantTable

JOINT = "joint"
SPLIT_FIRST = "split, then compress"


@dataclass(frozen=True)
class Case:
    """A network, devices, and what every form of every layer costs."""

    program: Program
    request: JointRequest
    sensitivity: Sensitivity

    @property
    def table(self) -> VariantTable:
        """Of these devices."""
        graph, topology = self.program.graph, self.request.topology
        return self.sensitivity.table(graph, topology, self.request.costs(graph))


Choose = Callable[[Case, float], Mapping[str, str] | None]
"""One variant per layer, within the allowance; None where nothing fits the devices."""


def jointly(case: Case, allowance: float) -> Mapping[str, str] | None:
    """Both at once, as `splitter compile --max-accuracy-drop` does."""
    try:
        return choose(case.program, case.table, case.request, allowance).variants
    except InfeasibleError:
        return None


def split_first(case: Case, allowance: float) -> Mapping[str, str] | None:
    """The forms that make the best split of the float network fastest."""
    graph, request = case.program.graph, case.request
    costs, limit_s = request.costs(graph), request.time_limit_s
    whole = partition(graph, request.topology, costs, slots=request.slots, time_limit_s=limit_s)
    pins = tuple((exactly(name), device) for name, device in whole.placement.items())
    try:
        return partition_jointly(
            *(graph, request.topology, costs, case.table, allowance),
            constraints=Constraints(pins=pins),
            slots=request.slots,
            time_limit_s=limit_s,
        ).variants
    except InfeasibleError:
        return None


def fewest_bytes(case: Case, allowance: float) -> Mapping[str, str]:
    """The smallest network, devices unseen."""
    table = _everywhere(case)
    return cheapest(table, bytes_of(table), allowance)


def fewest_macs(case: Case, allowance: float) -> Mapping[str, str]:
    """The network of least work, devices unseen."""
    macs = {
        (layer, one.variant.name): float(one.macs)
        for layer, own in case.sensitivity.candidates.items()
        for one in own
    }
    return cheapest(_everywhere(case), macs, allowance)


def _everywhere(case: Case) -> VariantTable:
    """Every variant, whatever it costs on these devices."""
    candidates = case.sensitivity.candidates
    variants = {layer: tuple(one.variant for one in own) for layer, own in candidates.items()}
    return VariantTable(variants, case.sensitivity.weight, {})


WAYS: Mapping[str, Choose] = {
    JOINT: jointly,
    "fewest bytes, then split": fewest_bytes,
    "fewest MACs, then split": fewest_macs,
    SPLIT_FIRST: split_first,
}
