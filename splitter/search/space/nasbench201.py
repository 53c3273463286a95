"""NAS-Bench-201: cells of six edges with five operators, as modules and as a table of answers.

Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
2020. A cell has four nodes; edge (i, j) applies one operator to node i, node j sums its edges. All
cells of a network are alike.
"""

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from splitter.errors import InputError
from splitter.search.space.space import Architecture, Slot, Space, Stage

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SPACE = Space(
    "nas_bench_201",
    (Stage("cell", tuple(Slot(f"edge_{i}_{j}", OPERATORS) for i, j in EDGES)),),
)
_COLUMNS = ("test_accuracy", "one_shot_accuracy", "few_shot_accuracy")


@dataclass(frozen=True)
class BenchTable:
    """Answers for every cell, in percent."""

    rows: Mapping[Architecture, tuple[float, float, float]]

    def accuracy(self, architecture: Architecture) -> float:
        """CIFAR-10 test accuracy of the trained network, 0 to 1."""
        return self.rows[architecture][0] / 100

    def column(self, name: str) -> "Column":
        """One column as an estimator: ``test``, ``one_shot`` or ``few_shot``."""
        return Column(self, _COLUMNS.index(f"{name}_accuracy"))


@dataclass(frozen=True)
class Column:
    """One column of the table as an estimator."""

    table: BenchTable
    index: int

    def score(self, architecture: Architecture) -> float:
        """Accuracy, 0 to 1."""
        return self.table.rows[architecture][self.index] / 100


def read_table(path: Path) -> BenchTable:
    """The table in a gzipped CSV file with a column for each edge and accuracy.

    Raises:
        InputError: the file cannot be read or is not such a table.
    """
    try:
        with gzip.open(path, "rt", newline="") as file:
            rows = {_cell(row): _answers(row) for row in csv.DictReader(file)}
    except (OSError, EOFError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is no table of NAS-Bench-201: {error!r}; it needs columns edge_0_1 ... "
            f"edge_2_3 and {', '.join(_COLUMNS)}, gzipped"
        ) from error
    if len(rows) != SPACE.size:
        raise InputError(f"{path} has {len(rows)} cells, not all {SPACE.size}")
    return BenchTable(rows)


def _cell(row: Mapping[str, str]) -> Architecture:
    return tuple(OPERATORS.index(row[slot.name]) for slot in SPACE.slots)


def _answers(row: Mapping[str, str]) -> tuple[float, float, float]:
    one, two, three = (float(row[name]) for name in _COLUMNS)
    return one, two, three


class Zero(nn.Module):
    """The operator ``none``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zeros of the same shape."""
        return x * 0.0


def _operator(name: str, channels: int) -> nn.Module:
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    kernel = 3 if name == "nor_conv_3x3" else 1
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, 1, kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
    )


class Cell(nn.Module):
    """Four nodes joined by six operators."""

    def __init__(self, architecture: Architecture, channels: int) -> None:
        super().__init__()
        names = [OPERATORS[choice] for choice in architecture]
        self.edges = nn.ModuleList(_operator(name, channels) for name in names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        nodes = [x]
        for j in range(1, 4):
            parts = [
                operator(nodes[i])
                for (i, end), operator in zip(EDGES, self.edges, strict=True)
                if end == j
            ]
            nodes.append(torch.stack(parts).sum(0))
        return nodes[-1]


class Reduction(nn.Module):
    """Residual block of stride 2 that doubles the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Half the height and width."""
        total: torch.Tensor = self.body(x) + self.shortcut(x)
        return total


def cell_network(
    architecture: Architecture,
    *,
    channels: int = 16,
    cells: int = 5,
    inputs: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    """The benchmark's network: three stages of ``cells`` equal cells."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]
    for stage in range(3):
        width = channels * 2**stage
        if stage:
            layers.append(Reduction(width // 2, width))
        layers += [Cell(architecture, width) for _ in range(cells)]
    last = 4 * channels
    layers += [nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(last, classes))
