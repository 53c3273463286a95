"""The equivalence gate: the compiled nodes must give the unsplit model's answer.

The nodes run together over loopback, as they will be deployed, on the golden input; nodes for
another processor run under qemu-user. Whatever crosses a link is recorded, so that a difference is
traced to the first tensor in which it shows.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.host.bundle import Bundle
from runtime.host.processor import missing_emulators
from splitter.errors import EquivalenceError
from splitter.program import Program

Array = npt.NDArray[Any]
_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found."""

    ran: bool
    """False when an emulator that it needs is not installed."""
    reason: str
    max_abs_diff: float
    """Largest absolute difference in any output."""
    max_rel_diff: float
    """The same relative to the output's largest magnitude."""


def check_equivalence(folder: Path, program: Program, tolerance: float) -> GateResult:
    """Run the bundle in ``folder`` on its golden input.

    Raises:
        EquivalenceError: an output differs by more than ``tolerance`` relative to its largest
            magnitude; names the first tensor on a link that differs.
    """
    bundle = Bundle.open(folder)
    missing = missing_emulators(node.processor for node in bundle.manifest.nodes.values())
    if missing:
        return GateResult(False, f"not compared: {', '.join(missing)} not installed", 0.0, 0.0)
    inputs = [value.numpy() for value in program.example_inputs]
    expected = np.load(folder / "golden" / "output.npz")
    with tempfile.TemporaryDirectory() as record:
        with bundle.launch(record_dir=Path(record), timeout_s=_TIMEOUT_S) as deployment:
            answer = deployment(*inputs)
        outputs = answer if isinstance(answer, tuple) else (answer,)
        found = dict(zip(bundle.graph.outputs, outputs, strict=True))
        differences = {name: difference(found[name], expected[name]) for name in found}
        worst = max(differences, key=lambda name: differences[name][1])
        if not differences[worst][1] <= tolerance:
            raise EquivalenceError(_explain(bundle, Path(record), worst, differences, tolerance))
    absolute = max(d[0] for d in differences.values())
    return GateResult(True, "compared", absolute, differences[worst][1])


def difference(found: Array, expected: Array) -> tuple[float, float]:
    """Largest absolute difference, and the same relative to the largest expected magnitude.

    Where the expectation is not finite, the value found must be the same.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf"), float("inf")
    if not expected.size:
        return 0.0, 0.0
    if expected.dtype.kind != "f":
        wrong = float(np.count_nonzero(found != expected))
        return wrong, wrong
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return float("inf"), float("inf")
    if not finite.any():
        return 0.0, 0.0
    gap = float(np.abs(found[finite].astype("f8") - expected[finite].astype("f8")).max())
    scale = float(np.abs(expected[finite]).max())
    return gap, gap / scale if scale > 0 else gap


def _explain(
    bundle: Bundle,
    record: Path,
    worst: str,
    differences: Mapping[str, tuple[float, float]],
    tolerance: float,
) -> str:
    absolute, relative = differences[worst]
    text = (
        f"the compiled nodes do not give the answer of {bundle.manifest.model}: output "
        f"{worst} differs by {absolute:.3g} ({relative:.3g} of its largest magnitude, "
        f"allowed {tolerance:g})"
    )
    for name, gap in _cut_differences(bundle, record):
        if not gap <= tolerance:
            return f"{text}; the first tensor on a link to differ is {name} (by {gap:.3g} relative)"
    return f"{text}; every tensor on a link agrees, so the device that makes the output is at fault"


def _cut_differences(bundle: Bundle, record: Path) -> Iterator[tuple[str, float]]:
    expected = np.load(bundle.path / "golden" / "cut.npz")
    for name, wire in bundle.wire.items():
        if name not in expected:
            continue
        for file in sorted(record.rglob(f"{wire}.bin")):
            found = np.frombuffer(file.read_bytes(), expected[name].dtype)
            yield name, difference(found, expected[name].reshape(-1))[1]
