"""Generated placement files: readable, as large as said, and the same each time."""

import json
from pathlib import Path

from benchmarks.placement_files import NETWORKS, problems
from splitter.placement import read_placement


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    found = problems(3)
    assert len(found) == 4 * len(NETWORKS)
    assert 1_900 < len(found["transformer_training"]["nodes"]) < 2_100
    for name in ("residual_inference", "tangled_training", "tangled_training_scarce"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(found[name]))
        read = read_placement(path)
        assert len(read.graph.layers) == len(found[name]["nodes"])
        backward = [layer for layer in read.graph.layers if layer.kind == "backward"]
        assert len(backward) == (len(read.graph.layers) // 2 if "training" in name else 0)


def test_the_seed_decides() -> None:
    assert problems(1) == problems(1)
    assert problems(1) != problems(2)
