"""What compression did to a Program: its size, its work, its answers."""

from dataclasses import dataclass

import torch

from compress.networks import batched
from compress.storage import disk_bytes
from compress.teach import Samples
from splitter.program import Program

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers of a compressed program beside those of the original."""

    requests: int
    relative_error: float
    """Norm of the difference of all float outputs over the norm of the original's."""
    agreement: float
    """Share of rows of the first output whose largest entry is in the same place."""
    accuracy: float | None
    """Share of right answers, where there are labels."""
    original_accuracy: float | None


def stored_bytes(program: Program) -> int:
    """Bytes of all constants, the compressed ones packed."""
    packed = sum(disk_bytes(tensor) for tensor in program.compressed.values())
    plain = program.graph.weight_bytes.items()
    return packed + sum(size for name, size in plain if name not in program.compressed)


def compare(original: Program, compressed: Program, samples: Samples) -> Comparison:
    """Run both on ``samples``.

    Raises:
        InputError: the samples do not fit.
    """
    samples.check(original)
    wanted, found = _outputs(original, samples), _outputs(compressed, samples)
    floats = [(w, f) for w, f in zip(wanted, found, strict=True) if w.is_floating_point()]
    difference = sum(float((w - f).double().square().sum()) for w, f in floats)
    norm = sum(float(w.double().square().sum()) for w, _ in floats)
    answers = [
        outputs[0].reshape(-1, outputs[0].shape[-1]).argmax(1) for outputs in (wanted, found)
    ]
    right: list[float | None] = [None, None]
    if samples.labels is not None:
        labels = samples.labels.reshape(-1)
        right = [float((answer == labels).float().mean()) for answer in answers]
    return Comparison(
        requests=len(samples),
        relative_error=(difference / max(norm, 1e-30)) ** 0.5,
        agreement=float((answers[0] == answers[1]).float().mean()),
        accuracy=right[1],
        original_accuracy=right[0],
    )


def _outputs(program: Program, samples: Samples) -> list[torch.Tensor]:
    run = batched(program.module)
    parts = []
    with torch.no_grad():
        for start in range(0, len(samples), _AT_ONCE):
            rows = torch.arange(start, min(start + _AT_ONCE, len(samples)))
            parts.append(run(samples.take(rows).inputs))
    return [torch.cat(column) for column in zip(*parts, strict=True)]
