"""Forms that a layer of a Program may take: low rank, few bits, both.

A form is a pair of methods, written ``trp:rank=4 + slq:bits=4``; either may be missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from compress.lowrank import factored_sizes, fault_of, is_smaller
from compress.method import Method
from compress.methods import format_method, parse_method
from compress.mlq import MLQ
from compress.programs import program_sites
from compress.recipe import Recipe, Rule, exactly
from compress.sites import Site
from compress.slq import SLQ
from compress.trp import TRP
from splitter.graph import Layer
from splitter.memory import aligned
from splitter.program import Program
from splitter.variants import AS_IS

WIDTHS = (5, 4, 3)
"""Bits of the codebooks that are tried."""
SHARES = (0.3, 0.5, 0.7)
"""Parts of a layer's MACs that are tried for its factors."""
BLOCK = 8
"""Channels that kernels compute together, or half of them."""
_BOTH_BITS, _BOTH_SHARE = 4, 0.5
_AND = " + "


@dataclass(frozen=True, slots=True)
class Form:
    """What a layer may become."""

    methods: tuple[Method, ...]
    """At most one of low rank, then at most one of bits."""
    macs: int
    inner_bytes: int = 0
    """Of the tensor between two factors, for one request."""

    @property
    def name(self) -> str:
        """Text of the methods; `AS_IS` for none."""
        return _AND.join(map(format_method, self.methods)) or AS_IS

    @property
    def kernels(self) -> int:
        """Layers that it is."""
        return 2 if self.inner_bytes else 1


def changeable(program: Program) -> dict[str, Site]:
    """Per layer that may change: its weight, which it alone reads and a kernel can decode."""
    found: dict[str, Site] = {}
    sites = program_sites(program)
    for site in sites:
        readers = [one.name for one in program.graph.layers if site.weight in one.weights]
        own = [other for other in sites if other.layer == site.layer]
        plain = site.groups == 1 and (site.is_convolution or site.kind == "linear")
        if plain and site.alone and readers == [site.layer] and len(own) == 1:
            found[site.layer] = site
    return found


def forms(layer: Layer, site: Site) -> Iterator[Form]:
    """What ``layer`` may become; as it is comes first."""
    yield Form((), layer.macs)
    for bits in WIDTHS:
        yield Form((_bits(bits),), layer.macs)
    yield Form((MLQ(layers_per_round=0),), layer.macs)
    for scheme in ("nc", "vh"):
        if fault_of(site, scheme) is None:
            yield from _low_rank(layer, site, scheme)


def recipe_of(variants: Mapping[str, str], steps: int) -> Recipe:
    """The recipe that gives every layer its variant, in ``steps`` training steps in all.

    Of a layer with two methods, each gets half of the steps.
    """
    rules: list[Rule] = []
    both = any(_AND in name for name in variants.values())
    for layer, name in variants.items():
        for text in name.split(_AND) if name != AS_IS else ():
            method = with_steps(parse_method(text), max(steps // (2 if both else 1), 1))
            rules.append(Rule(exactly(layer), method))
    return Recipe(tuple(rules))


def with_steps(method: Method, steps: int) -> Method:
    """``method`` with rounds that take ``steps`` training steps together."""
    if isinstance(method, TRP):
        return replace(method, steps=steps, period=max(min(method.period, steps // 4), 1))
    rounds = 2 if isinstance(method, MLQ) else len(getattr(method, "fractions", (1.0,)))
    if not hasattr(method, "steps_per_round"):
        return method
    each = max(steps // rounds, 1)
    return replace(method, steps_per_round=each)  # type: ignore[call-arg]


def _bits(bits: int) -> SLQ:
    # Folding batch norms spreads the channels of a traced layer over orders of magnitude. Indices
    # that tell 15 centroids apart take the bytes of the paper's 9.
    return SLQ(bits=bits, per_channel=True, full=True)


def _low_rank(layer: Layer, site: Site, scheme: str) -> Iterator[Form]:
    ranks = dict.fromkeys(_rank(site, scheme, share) for share in SHARES)
    for rank in ranks:
        if not rank or not is_smaller(site, scheme, rank):
            continue
        macs, inner_bytes = _work(layer, site, scheme, rank)
        method = TRP(scheme=scheme, rank=rank, threshold=0.0, period=10, nuclear=0.0)
        yield Form((method,), macs, inner_bytes)
        if rank == _rank(site, scheme, _BOTH_SHARE):
            yield Form((method, _bits(_BOTH_BITS)), macs, inner_bytes)


def _rank(site: Site, scheme: str, share: float) -> int:
    """In whole blocks of channels where there is more than one: kernels compute such blocks."""
    rank = int(share * prod(site.shape) / sum(factored_sizes(site, scheme, 1)))
    return rank if rank < 2 * BLOCK else round(rank / BLOCK) * BLOCK


def _work(layer: Layer, site: Site, scheme: str, rank: int) -> tuple[int, int]:
    """MACs of both factors, and bytes of the tensor between them."""
    positions = layer.macs // prod(site.shape)
    before = positions * (site.stride[1] if scheme == "vh" else 1)
    first, second = factored_sizes(site, scheme, rank)
    return first * before + second * positions, aligned(4 * rank * before)
