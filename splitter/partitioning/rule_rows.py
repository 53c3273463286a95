"""Rows of the integer program for the rules of `splitter.constraints`.

Pins, bans, drained devices and privacy are in `Problem.allowed`, and missing or forbidden ways in
`PlacementModel`; here is the rest.
"""

from collections.abc import Sequence

from splitter.partitioning.milp import ONE, Terms, combine
from splitter.partitioning.model import PlacementModel

_MIB = float(2**20)
_HALF_BYTE = 0.5
"""All sizes are whole bytes, so half a byte absorbs rounding and admits nothing."""
_ROUNDING = 1e-9


def add_rules(model: PlacementModel) -> None:
    """Exclude every placement that breaks a rule."""
    _add_together(model)
    _add_apart(model)
    _add_device_count(model)
    _add_cut_count(model)
    _add_energy_caps(model)
    _add_pipeline(model)
    for link, cap in model.problem.rules.link_caps:
        _add_byte_cap(model, [link], cap)
    if model.problem.constraints.max_sent_bytes is not None:
        everything = range(len(model.problem.links))
        _add_byte_cap(model, everything, model.problem.constraints.max_sent_bytes)


def _add_together(model: PlacementModel) -> None:
    for group in model.problem.rules.together:
        first, *others = group
        for device in range(model.problem.m):
            for layer in others:
                model.milp.equal(model.on(first, device), model.on(layer, device))


def _add_apart(model: PlacementModel) -> None:
    """On each device at most one of the sets has layers."""
    for parts in model.problem.rules.apart:
        for device in range(model.problem.m):
            present = [_present(model, part, device) for part in parts]
            model.milp.at_least({ONE: 1.0}, combine(*((one, 1.0) for one in present)))


def _present(model: PlacementModel, layers: Sequence[int], device: int) -> Terms:
    terms = [on for layer in layers if (on := model.on(layer, device))]
    return model.any_of(terms) if terms else {}


def _add_device_count(model: PlacementModel) -> None:
    most = model.problem.constraints.max_devices
    if most is None:
        return
    every = range(model.problem.n)
    used = [_present(model, every, device) for device in range(model.problem.m)]
    model.milp.at_least({ONE: float(most)}, combine(*((one, 1.0) for one in used)))


def _add_cut_count(model: PlacementModel) -> None:
    most = model.problem.constraints.max_cuts
    if most is None:
        return
    cuts = [
        model.any_of([_crosses(model, wire.producer, reader) for reader in wire.readers])
        for wire in model.problem.wires
        if wire.readers and not wire.is_input
    ]
    model.milp.at_least({ONE: float(most)}, combine(*((cut, 1.0) for cut in cuts)))


def _crosses(model: PlacementModel, producer: int, reader: int) -> Terms:
    """1 when the two layers run on different devices."""
    flow = model.flow[producer, reader]
    return {column: 1.0 for (home, there), column in flow.items() if home != there}


def _add_pipeline(model: PlacementModel) -> None:
    """Number the devices so that tensors between forward layers only go to higher numbers."""
    problem = model.problem
    if not problem.constraints.contiguous:
        return
    steps: dict[tuple[int, int], list[Terms]] = {}
    for producer, reader in problem.forward_edges:
        for (home, there), column in model.flow[producer, reader].items():
            if home != there:
                steps.setdefault((home, there), []).append({column: 1.0})
    devices = sorted({device for step in steps for device in step})
    order = {device: {model.milp.column(0.0, problem.m - 1.0): 1.0} for device in devices}
    for (home, there), terms in steps.items():
        goes = model.any_of(terms)
        unless = combine(({ONE: 1.0}, -float(problem.m - 1)), (goes, float(problem.m)))
        model.milp.at_least(order[there], combine((order[home], 1.0), (unless, 1.0)))


def _add_energy_caps(model: PlacementModel) -> None:
    problem = model.problem
    for device, cap in problem.rules.energy_caps:
        unit = cap if cap > 0.0 else 1.0
        watts = problem.active_w[device] / unit
        spent = combine(*((model.seconds_on(v, device), watts) for v in range(problem.n)))
        model.milp.at_least({ONE: cap / unit * (1 + _ROUNDING)}, spent)


def _add_byte_cap(model: PlacementModel, links: Sequence[int], cap: int) -> None:
    carried = combine(
        *(
            (term, wire.bytes / _MIB)
            for w, wire in enumerate(model.problem.wires)
            for (_, link), term in model.hop[w].items()
            if link in links
        )
    )
    model.milp.at_least({ONE: (cap + _HALF_BYTE) / _MIB}, carried)
