"""Compiled kernels are kept and shared; damage in the cache is mended."""

import json
from pathlib import Path
from typing import Any

import pytest

import splitter
from runtime.build import kernels
from runtime.build.kernels import compile_layers, compiler_key
from runtime.build.machine import Machine, machine_of


@pytest.fixture
def machine(topology: splitter.Topology) -> Machine:
    return machine_of(topology.by_name["camera"])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    return tmp_path / "kernels"


def layers_of(program: splitter.Program, *names: str) -> list[splitter.Layer]:
    return [program.graph.by_name[name] for name in names]


def never(*arguments: Any) -> None:
    raise AssertionError("compiled again")


def test_equal_layers_share_one_object(
    program: splitter.Program, machine: Machine, cache: Path
) -> None:
    seen: list[tuple[int, int, str]] = []
    wanted = layers_of(program, "first", "second", "third")
    found = compile_layers(program, wanted, machine, lambda *step: seen.append(step))
    assert found["second"].object_path == found["third"].object_path
    assert found["second"].symbol == found["third"].symbol != found["first"].symbol
    assert [o.name for o in found["second"].operands] == [
        *("first", "second.weight", "second.bias", "second")
    ]
    assert [o.name for o in found["third"].operands][:2] == ["second", "third.weight"]
    assert seen == [(0, 3, "first"), (1, 3, "second"), (2, 3, "third"), (3, 3, "")]
    assert len(list(cache.rglob("*.o"))) == len(list(cache.rglob("*.json"))) == 2


def test_kept_kernels_are_not_compiled_again(
    program: splitter.Program,
    machine: Machine,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = compile_layers(program, layers_of(program, "first"), machine)
    monkeypatch.setattr(kernels, "generate", never)
    assert compile_layers(program, layers_of(program, "first"), machine) == before
    other = Machine("x86_64", "x86-64-v2", (), 16, 1)
    with pytest.raises(AssertionError, match="compiled again"):
        compile_layers(program, layers_of(program, "first"), other)
    names = {f"{compiler_key()}-{each.key}" for each in (machine, other)}
    assert {folder.name for folder in cache.iterdir()} == names


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '[{"role": "input"}]', "[1, 2]"])
def test_damaged_description_is_made_again(
    content: str, program: splitter.Program, machine: Machine, cache: Path
) -> None:
    before = compile_layers(program, layers_of(program, "head"), machine)
    (description,) = cache.rglob("*.json")
    description.write_text(content)
    assert compile_layers(program, layers_of(program, "head"), machine) == before
    assert json.loads(description.read_text())


def test_operands_are_in_argument_order(program: splitter.Program, machine: Machine) -> None:
    for layer in program.graph.layers:
        (kernel,) = compile_layers(program, [layer], machine).values()
        assert [o.name for o in kernel.operands] == [
            *(*layer.inputs, *layer.weights, *layer.outputs)
        ]
        roles = [o.role for o in kernel.operands]
        assert roles.count("weight") == len(layer.weights)
        assert roles[-1] == "output"
