"""The zoo's labelled images, for benchmarks."""

from splitter.zoo.datasets import (
    DATASETS,
    FASHION,
    Images,
    Split,
    digits,
    disturbed,
    fashion,
    has_fashion,
    mnist,
)

__all__ = [
    "DATASETS",
    "FASHION",
    "Images",
    "Split",
    "digits",
    "disturbed",
    "fashion",
    "has_fashion",
    "mnist",
]
