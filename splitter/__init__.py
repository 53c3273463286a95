"""Split one trained network over several devices and compile one native program for each.

>>> program = splitter.load("mobilenet_v2")
>>> plan = splitter.partition(program, "loopback3")
>>> bundle = splitter.compile(program, plan, "loopback3", "build")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.host.bundle import Bundle
    from splitter.constraints import Constraints
    from splitter.constraints_file import load_constraints
    from splitter.errors import SplitterError
    from splitter.graph import Graph, Layer, Tensor
    from splitter.partitioning.contest import Contest
    from splitter.partitioning.pareto.front import Front
    from splitter.pipeline import compare, compile, pareto, partition, profile, tune
    from splitter.plan import Plan
    from splitter.program import Program
    from splitter.stored import Decoding
    from splitter.topology import Card, Device, Link, Topology
    from splitter.topology_file import load_topology
    from splitter.tracing.load import load
    from splitter.tracing.trace import trace

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - by kind
    # what to do
    "compare",
    "compile",
    "load",
    "load_constraints",
    "load_topology",
    "pareto",
    "partition",
    "profile",
    "trace",
    "tune",
    # what is passed around
    "Bundle",
    "Card",
    "Constraints",
    "Contest",
    "Decoding",
    "Device",
    "Front",
    "Graph",
    "Layer",
    "Link",
    "Plan",
    "Program",
    "SplitterError",
    "Tensor",
    "Topology",
]

# Imported when first used: planning needs no torch, running a bundle needs neither torch nor TVM.
_HOME = {
    "Bundle": "runtime.host.bundle",
    "Card": "splitter.topology",
    "Constraints": "splitter.constraints",
    "Contest": "splitter.partitioning.contest",
    "Decoding": "splitter.stored",
    "Device": "splitter.topology",
    "Front": "splitter.partitioning.pareto.front",
    "Graph": "splitter.graph",
    "Layer": "splitter.graph",
    "Link": "splitter.topology",
    "Plan": "splitter.plan",
    "Program": "splitter.program",
    "SplitterError": "splitter.errors",
    "Tensor": "splitter.graph",
    "Topology": "splitter.topology",
    "compare": "splitter.pipeline",
    "compile": "splitter.pipeline",
    "load": "splitter.tracing.load",
    "load_constraints": "splitter.constraints_file",
    "load_topology": "splitter.topology_file",
    "pareto": "splitter.pipeline",
    "partition": "splitter.pipeline",
    "profile": "splitter.pipeline",
    "trace": "splitter.tracing.trace",
    "tune": "splitter.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'splitter' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
