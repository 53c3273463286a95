"""What each form of each layer costs in accuracy and bytes, one layer at a time.

A layer is changed from its weights alone, the others stay: a pessimistic measure, since training
makes up for most of it, but one that ranks layers and forms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import fx

from compress.apply import Applied, apply_recipe
from compress.candidates import Form, changeable, forms, recipe_of
from compress.decoding import decode_operations
from compress.networks import batched, trainable_copy
from compress.programs import layer_names
from compress.sites import Site
from compress.storage import disk_bytes
from compress.teach import Samples
from splitter.cost.variants import Candidate, variant_table
from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.program import Program
from splitter.topology import Topology
from splitter.variants import Choice, Variant, VariantTable

Progress = Callable[[int, int, str], None]
_AT_ONCE = 64


@dataclass(frozen=True)
class Sensitivity:
    """Every form that was measured, whatever the devices."""

    candidates: Mapping[str, tuple[Candidate, ...]]
    """By layer; the layer as it is comes first."""
    weight: Mapping[str, str]
    """The constant that a layer's forms change."""

    @property
    def drops(self) -> dict[tuple[str, str], float]:
        """Percent points by layer and form."""
        return {
            (layer, one.variant.name): one.variant.accuracy_drop
            for layer, own in self.candidates.items()
            for one in own
        }

    def predicted_points(self, choice: Choice) -> float:
        """The sum of what the forms of ``choice`` lose, each alone."""
        drops = self.drops
        return sum(drops[pick] for pick in choice.items())

    def table(self, graph: Graph, topology: Topology, costs: CostTable) -> VariantTable:
        """CostTable[layer, variant, device]: bytes, seconds and accuracy change."""
        return variant_table(graph, topology, costs, self.weight, self.candidates)


def measure_forms(
    program: Program,
    samples: Samples,
    progress: Progress = lambda done, total, what: None,
) -> Sensitivity:
    """Every form of every layer that may change, one layer at a time.

    Raises:
        InputError: the samples do not fit.
    """
    samples.check(program)
    judge = Judge(program, samples)
    sites = changeable(program)
    tried = [
        (layer, site, form)
        for layer, site in sites.items()
        for form in forms(program.graph.by_name[layer], site)
    ]
    found: dict[str, list[Candidate]] = {}
    for done, (layer, site, form) in enumerate(tried):
        progress(done, len(tried), f"{layer} {form.name}")
        found.setdefault(layer, []).append(_candidate(program, judge, site, form))
    weight = {layer: site.weight for layer, site in sites.items()}
    return Sensitivity({layer: tuple(own) for layer, own in found.items()}, weight)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a network loses in accuracy, in percent points."""

    points: float
    """On the samples; negative when it is better."""
    error: float = 0.0
    """Standard error of that, for other samples of the same kind."""

    def at_most(self, errors: float) -> float:
        """The loss when chance was kind by so many standard errors."""
        return self.points + errors * self.error


class Judge:
    """How right a network is, in percent: against labels, or against the original network."""

    def __init__(self, program: Program, samples: Samples) -> None:
        self.samples = samples
        outputs = _outputs(program.module, samples)
        self.wanted = outputs.argmax(1) if samples.labels is None else samples.labels.reshape(-1)
        self._right = self._is_right(outputs)
        self.original = self._share(outputs)
        self._sure = self._probability(outputs)

    def accuracy(self, module: fx.GraphModule) -> float:
        """Share of right answers of ``module`` on the samples."""
        return self._share(_outputs(module, self.samples))

    def drop(self, module: fx.GraphModule) -> float:
        """Percent points below the original network; negative when it is better."""
        return self.original - self.accuracy(module)

    def loss(self, module: fx.GraphModule) -> "Loss":
        """The drop, and how far chance may have moved it.

        Only samples on which exactly one of both networks is right tell them apart (McNemar, 1947).
        """
        before, after = self._right, self._is_right(_outputs(module, self.samples))
        worse, better = (int((a & ~b).sum()) for a, b in ((before, after), (after, before)))
        count, change = len(before), worse - better
        spread = max(worse + better - change * change / count, 0.0) ** 0.5
        return Loss(100 * change / count, 100 * spread / count)

    def sensitivity(self, module: fx.GraphModule) -> float:
        """Percent points that ``module`` loses, seen finely enough for one layer's change.

        Few samples flip for that, so that what they lose of the right answer's probability counts
        where it is more than the accuracy.
        """
        outputs = _outputs(module, self.samples)
        less_sure = (self._sure - self._probability(outputs)).clamp(min=0).mean()
        return max(self.original - self._share(outputs), 100 * float(less_sure))

    def _share(self, outputs: torch.Tensor) -> float:
        return 100 * float(self._is_right(outputs).float().mean())

    def _is_right(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.argmax(1) == self.wanted

    def _probability(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.float().softmax(1).gather(1, self.wanted[:, None])[:, 0]


@torch.no_grad()
def _outputs(module: fx.GraphModule, samples: Samples) -> torch.Tensor:
    """The first output, one row per answer."""
    run = batched(module)
    rows = torch.split(torch.arange(len(samples)), _AT_ONCE)
    outputs = [run(samples.take(part).inputs)[0] for part in rows]
    return torch.cat([y.reshape(-1, y.shape[-1]) for y in outputs])


def _candidate(program: Program, judge: Judge, site: Site, form: Form) -> Candidate:
    scratch = program.graph.by_name[site.layer].scratch_bytes + form.inner_bytes
    size, drop, operations = program.graph.weight_bytes[site.weight], 0.0, 0.0
    if form.methods:
        module = trainable_copy(program)
        recipe = recipe_of({site.layer: form.name}, 1)
        applied = apply_recipe(module, recipe, None, layer_names(program))
        size, drop = _bytes(applied), judge.sensitivity(module)
        operations = sum(map(decode_operations, applied.tensors.values()))
    variant = Variant(form.name, size, scratch, drop, form.inner_bytes)
    return Candidate(variant, form.macs, operations)


def _bytes(applied: Applied) -> int:
    """Of the compressed weights; factors that nothing else compresses are floats."""
    packed = applied.tensors or applied.factored
    return sum(disk_bytes(tensor) for tensor in packed.values())
