"""The mobile space: inverted residuals with elastic kernel, expansion, width, depth and SE.

Layouts are those of MnasNet (Tan et al., 2019), ProxylessNAS (Cai et al., 2019) and BINAS (Nayman
et al., 2022), and a small one for 28x28 grey images that two cores train in minutes.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import product

from torch import nn

from splitter.search.space.elastic import ElasticNet
from splitter.search.space.inverted import InvertedResidual, conv_bn
from splitter.search.space.network import Family, Made
from splitter.search.space.space import Slot, Space, Stage


@dataclass(frozen=True, slots=True)
class MobileBlock:
    """One choice: an inverted residual."""

    kernel: int
    expansion: int
    squeeze: bool = False
    width: int = 0
    """Channels of its output; 0 keeps those of its input."""

    def __str__(self) -> str:
        squeeze = "se" if self.squeeze else ""
        width = f"w{self.width}" if self.width else ""
        return f"k{self.kernel}e{self.expansion}{squeeze}{width}"


@dataclass(frozen=True, slots=True)
class MobileStage:
    """Blocks of one resolution."""

    widths: tuple[int, ...]
    """Channels that its first block may give; the others keep them."""
    blocks: int
    least: int
    stride: int
    hard_swish: bool = False


@dataclass(frozen=True, slots=True)
class MobileLayout:
    """What is fixed, and what may be chosen."""

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    stem: int
    """Channels of the stem, a convolution of stride 2."""
    stages: tuple[MobileStage, ...]
    head: int
    """Channels before pooling."""
    kernels: tuple[int, ...] = (3, 5)
    expansions: tuple[int, ...] = (3, 6)
    squeeze: tuple[bool, ...] = (False, True)
    entry: int = 0
    """Channels of a fixed block without expansion after the stem; 0 leaves it out."""
    shared: bool = False
    """Whether the blocks of a stage take one choice (MnasNet's factorised hierarchy)."""


def _stages(
    widths: tuple[int, ...],
    blocks: tuple[int, ...],
    least: tuple[int, ...],
    strides: tuple[int, ...],
) -> tuple[MobileStage, ...]:
    rows = zip(widths, blocks, least, strides, strict=True)
    return tuple(MobileStage((w,), n, m, s) for w, n, m, s in rows)


SMALL = MobileLayout(
    name="mobile",
    input_shape=(1, 28, 28),
    classes=10,
    stem=16,
    stages=(
        MobileStage((16,), 2, 1, 1),
        MobileStage((24, 40), 3, 1, 2),
        MobileStage((64, 96), 3, 1, 2),
    ),
    head=128,
    expansions=(2, 4),
)
BINAS = MobileLayout(
    name="binas",
    input_shape=(3, 224, 224),
    classes=1000,
    stem=32,
    entry=16,
    stages=tuple(
        MobileStage((w,), 4, 2, s, hard_swish=i >= 2)
        for i, (w, s) in enumerate(zip((24, 40, 80, 112, 192), (2, 2, 2, 1, 2), strict=True))
    ),
    head=960,
    expansions=(3, 4, 6),
)
PROXYLESS = MobileLayout(
    name="proxyless",
    input_shape=(3, 224, 224),
    classes=1000,
    stem=32,
    entry=16,
    stages=_stages(
        (24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), (1, 1, 1, 1, 1, 1), (2, 2, 2, 1, 2, 1)
    ),
    head=1280,
    kernels=(3, 5, 7),
    squeeze=(False,),
)
MNASNET = MobileLayout(
    name="mnasnet",
    input_shape=(3, 224, 224),
    classes=1000,
    stem=32,
    entry=16,
    stages=tuple(
        MobileStage((round(0.75 * w), w, round(1.25 * w)), n + 1, max(n - 1, 1), s)
        for w, n, s in zip(
            (24, 32, 64, 96, 160, 320), (2, 3, 4, 3, 3, 1), (2, 2, 2, 1, 2, 1), strict=True
        )
    ),
    head=1280,
    expansions=(3, 6),
    shared=True,
)
LAYOUTS: Mapping[str, MobileLayout] = {
    layout.name: layout for layout in (SMALL, BINAS, PROXYLESS, MNASNET)
}


def mobile(layout: MobileLayout = SMALL) -> Family:
    """The family of ``layout``."""
    space = Space(layout.name, tuple(_stage(layout, i) for i in range(len(layout.stages))))
    return Family(
        space=space,
        input_shape=layout.input_shape,
        stem=lambda: _stem(layout),
        block=_blocks(layout, space),
        head=lambda inputs: _head(layout, inputs),
        supernet=ElasticNet,
    )


def _stage(layout: MobileLayout, number: int) -> Stage:
    stage = layout.stages[number]
    slots = tuple(
        Slot(f"s{number + 1}b{b + 1}", _choices(layout, stage, first=b == 0 or layout.shared))
        for b in range(stage.blocks)
    )
    return Stage(f"s{number + 1}", slots, stage.least, layout.shared)


def _choices(layout: MobileLayout, stage: MobileStage, *, first: bool) -> tuple[MobileBlock, ...]:
    widths = stage.widths if first else (0,)
    kinds = product(widths, layout.kernels, layout.expansions, layout.squeeze)
    return tuple(MobileBlock(k, e, s, w) for w, k, e, s in kinds)


def _stem(layout: MobileLayout) -> Made:
    first = conv_bn(layout.input_shape[0], layout.stem, 3, 2)
    if not layout.entry:
        return first, layout.stem
    entry = InvertedResidual(layout.stem, layout.entry, 3, 1, 1, False, False)
    return nn.Sequential(first, entry), layout.entry


def _blocks(layout: MobileLayout, space: Space) -> Callable[[int, Hashable, int], Made]:
    place = {i: (k, i - span.start) for k, span in enumerate(space.spans) for i in span}

    def block(slot: int, choice: Hashable, inputs: int) -> Made:
        assert isinstance(choice, MobileBlock)
        k, b = place[slot]
        stage = layout.stages[k]
        width = choice.width or inputs
        stride = stage.stride if b == 0 else 1
        made = InvertedResidual(
            *(inputs, width, choice.kernel, stride, choice.expansion),
            choice.squeeze,
            stage.hard_swish,
        )
        return made, width

    return block


def _head(layout: MobileLayout, inputs: int) -> nn.Module:
    return nn.Sequential(
        conv_bn(inputs, layout.head, 1, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(layout.head, layout.classes),
    )
