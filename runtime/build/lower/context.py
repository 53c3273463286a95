"""What an operator's lowering is given and may ask for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.choice import Choice, Offer, Order
from runtime.build.lower.decoded import Decoded, can_decode, decoded_weight
from runtime.build.lower.encoding import Encoding, Part
from runtime.build.lower.expressions import type_of
from runtime.build.lower.packing import Packing
from runtime.build.lower.tile import Contraction, Tile, ranked_tiles
from runtime.build.machine import Machine
from splitter.program import dtype_name
from splitter.tracing.arguments import shape_of

Converter = Callable[["Context", fx.Node], te.Tensor]
Index = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Anchor:
    """The contraction whose loops the schedule is built around."""

    block: str
    """Name of the reduction block."""
    channel_axis: int
    """Axis of the layer's *result* that holds output channels (rows of a plain product)."""
    space_axis: int
    """Axis of the result that holds the innermost positions (columns of a plain product)."""
    tile: Tile | None
    """The register tile that the operands were packed for; None where nothing is packed."""
    depth: int = 0
    """Input elements that each output folds, stride and kernel size aside: input channels."""
    order: Order = ""
    """Which tiles follow one another, where that was chosen."""
    lanes: int = 0
    """Vector width by which a depthwise product's rows are computed; 0 for other products."""
    winograd: int = 0
    """Output tile of a Winograd convolution; 0 for other products."""
    strip: int = 0
    """Rows of Winograd tiles that are computed together; 0 where it is the whole image."""
    decoded: Decoded | None = None
    """The weight that the kernel decodes as it goes; None where it reads floats."""
    turned: str = ""
    """Name of the block that turns a product with channels last into planes; "" for none."""
    source: "Anchor | None" = None
    """Of a depthwise product, the pointwise one whose result it alone reads, in the same kernel."""


@dataclass
class Context:
    """Operands of the layer being lowered, and how its constants shall be stored."""

    machine: Machine
    values: dict[fx.Node, te.Tensor] = field(default_factory=dict)
    packings: dict[fx.Node, Packing] = field(default_factory=dict)
    encodings: dict[fx.Node, Encoding] = field(default_factory=dict)
    """Constants that the kernel shall decode, if it reads them block by block."""
    parts: dict[fx.Node, Mapping[Part, te.Tensor]] = field(default_factory=dict)
    """What of these it reads."""
    decoded: Decoded | None = None
    anchor: Anchor | None = None
    feeds_rows: bool = False
    """Whether the layer's first product is read by a depthwise one of the same kernel."""
    wanted: Choice | None = None
    """The way in which the layer shall be computed; None leaves it to the cost model."""
    offers: tuple[Offer, ...] = ()
    """The ways in which it can be computed, cheapest first; the first decision of a layer."""
    chosen: Choice | None = None
    """What the latest decision came to."""

    def choose(self, offers: Iterable[Offer]) -> Choice:
        """What is wanted if it is on offer, else what costs least. A layer has one such decision;
        a second one is left to the cost model.
        """
        if self.encodings:
            offers = [offer for offer in offers if can_decode(offer.choice)]
        ranked = tuple(sorted(offers, key=lambda offer: offer.cost))
        first, self.offers = not self.offers, self.offers or ranked
        wanted = [o.choice for o in ranked if first and o.choice == self.wanted]
        self.chosen = wanted[0] if wanted else ranked[0].choice
        return self.chosen

    def choose_tile(self, product: Contraction) -> Tile:
        """The register tile of a blocked product; see `ranked_tiles`."""
        choice = self.choose(tiled_offers(self.machine, product))
        assert choice.tile is not None
        return choice.tile

    @property
    def order(self) -> Order:
        """The chosen order of tiles."""
        return self.chosen.order if self.chosen else ""

    def tensor(self, value: object) -> te.Tensor:
        """The tensor expression of an fx argument."""
        assert isinstance(value, fx.Node), value
        return self.values[value]

    def packed(self, value: object, packing: Packing) -> te.Tensor:
        """A constant operand in another storage order; only for operands that are constants."""
        assert isinstance(value, fx.Node)
        shape = packing.shape(tuple(value.meta["val"].shape))
        self.packings[value] = packing
        if value in self.encodings:
            self.decoded, self.parts[value] = decoded_weight(
                safe_name(value.name), self.encodings[value], shape
            )
            return self.decoded.read(shape)
        self.values[value] = te.placeholder(shape, type_of(self.tensor(value)), name=value.name)
        return self.values[value]

    def is_private_constant(self, value: object) -> bool:
        """Whether the operand is a constant that only this operator of the layer reads."""
        return (
            isinstance(value, fx.Node)
            and value.meta.get("role") == "weight"
            and len(value.users) == 1
        )


# Another order than the schedule's rule gives is rarely better.
_OTHER_ORDER_COST = 1.1


def tiled_offers(machine: Machine, product: Contraction) -> Iterator[Offer]:
    """Every register tile in every order."""
    for cost, tile in ranked_tiles(machine, product):
        yield Offer(cost, Choice("tiled", tile))
        yield Offer(cost * _OTHER_ORDER_COST, Choice("tiled", tile, "channels-inside"))
        yield Offer(cost * _OTHER_ORDER_COST, Choice("tiled", tile, "space-inside"))


def dtype_of(node: fx.Node) -> str:
    """Element type of a node's value."""
    return dtype_name(node.meta["val"].dtype)


def broadcast_read(tensor: te.Tensor, index: Index) -> Expr:
    """``tensor`` at ``index`` of a result that it is broadcast to."""
    rank = len(tensor.shape)
    tail = list(index)[len(index) - rank :]
    return tensor(*[_zero_if_unit(tensor.shape[i], tail[i]) for i in range(rank)])


def _zero_if_unit(extent: Any, index: Any) -> Any:
    return tirx.const(0, "int32") if int(extent) == 1 else index


def with_bias(
    ctx: Context, node: fx.Node, product: te.Tensor, bias: object, axis: int
) -> te.Tensor:
    """``product`` plus the vector ``bias`` along ``axis``; as it is when there is none."""
    if bias is None:
        return product
    values = ctx.tensor(bias)
    return compute(
        node, lambda *i: product(*i) + values(i[axis]), name=f"{safe_name(node.name)}_bias"
    )


def compute(node: fx.Node, body: Callable[..., Expr], name: str = "") -> te.Tensor:
    """A result with the shape and type of ``node``, one element per index."""
    dtype = dtype_of(node)
    return te.compute(
        shape_of(node), lambda *i: body(*i).astype(dtype), name=name or safe_name(node.name)
    )


def safe_name(name: str) -> str:
    """``name`` as an identifier."""
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name)


def numel(node: fx.Node) -> int:
    """Number of elements of a node's value."""
    return prod(shape_of(node))


def promoted_dtype(left: object, right: object) -> str:
    """The type in which torch computes on two operands, each an fx node or a Python number."""
    a, b = _meta(left), _meta(right)
    return dtype_name(torch.result_type(a, b))


def _meta(operand: object) -> Any:
    if not isinstance(operand, fx.Node):
        return operand
    value = operand.meta["val"]
    return torch.empty(value.shape, dtype=value.dtype, device="meta")
