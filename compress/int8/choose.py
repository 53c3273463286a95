"""Which steps of calibration help a network: measured on requests that it was not calibrated on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from torch import fx

from splitter.program import Program
from splitter.quantized_ops import nearly_qconv2d

JUDGED = 8
"""Most requests whose outputs are compared."""
Requests = Sequence[Sequence[torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done besides choosing ranges."""

    equalise: bool
    """First bring the channels of each tensor to similar ranges."""
    reconstruct: bool
    """Round weights so that layers' outputs stay, not each to the nearest number."""


def best_steps(
    program: Program, requests: Requests, quantized: Callable[[Steps, Requests], Program]
) -> Steps:
    """The steps whose program differs least from ``program`` on the second half of the requests.

    Args:
        program: the float program.
        requests: unlabelled inputs; of fewer than four nothing can be told, and nothing is done.
        quantized: makes the program on numbers, from the first half.
    """
    if len(requests) < 4:
        return Steps(equalise=False, reconstruct=False)
    middle = len(requests) // 2
    fitted, others = requests[:middle], requests[middle:]
    spread = others[:: max(len(others) // JUDGED, 1)][:JUDGED]

    def error(steps: Steps) -> float:
        return _error(program, quantized(steps, fitted), spread)

    least, best = inf, Steps(equalise=False, reconstruct=False)
    for trial in (best, Steps(equalise=True, reconstruct=False)):
        found = error(trial)
        if found < least:
            least, best = found, trial
    last = replace(best, reconstruct=True)
    return last if error(last) < least else best


@torch.no_grad()
def _error(program: Program, other: Program, requests: Requests) -> float:
    """Mean squared error of the float outputs, each relative to its output's mean square."""
    run = _Quick(other.module)
    errors = []
    for request in requests:
        for wanted, found in zip(program(*request), run.run(*request), strict=True):
            if wanted.is_floating_point() and wanted.numel():
                size = wanted.double().square().mean().clamp(min=1e-30)
                errors.append(float((found.double() - wanted.double()).square().mean() / size))
    return sum(errors) / max(len(errors), 1)


class _Quick(fx.Interpreter):
    """Computes convolutions on numbers nearly, but quickly."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The operator's value."""
        if target is torch.ops.splitter.qconv2d.default:
            return nearly_qconv2d(*args, **kwargs)
        return super().call_function(target, args, dict(kwargs))
