"""The surface is what ``__all__`` says, nothing more; each stage is a folder or module."""

import re
import subprocess
import sys
from collections.abc import Callable
from inspect import isclass, isfunction, signature

import splitter
from splitter import _HOME, __all__

Golden = Callable[[str, str], None]


def test_every_public_name_resolves() -> None:
    assert len(set(__all__)) == len(__all__)
    assert sorted(__all__) == sorted(_HOME)
    for name in __all__:
        value = getattr(splitter, name)
        assert isclass(value) or isfunction(value)
        assert value.__name__ == name
        assert value.__module__ == _HOME[name]
        assert value.__doc__


def test_dir_shows_the_surface_alone() -> None:
    assert dir(splitter) == sorted(__all__)


def test_no_public_name_besides_modules() -> None:
    modules = {name.split(".")[1] for name in sys.modules if name.startswith("splitter.")}
    others = {name for name in vars(splitter) if not name.startswith("_")} - modules
    assert others <= {*__all__, "import_module", "TYPE_CHECKING", "Any"}
    assert not modules & set(__all__), "a name is a module or a function, never both"


def test_signatures_are_golden(golden: Golden) -> None:
    """A changed signature is a visible difference."""
    functions = [name for name in sorted(__all__) if isfunction(getattr(splitter, name))]
    text = "".join(f"{name}\n{described(getattr(splitter, name))}\n" for name in functions)
    golden("public_api.txt", re.sub(r" at 0x[0-9a-f]+", "", text))


def described(function: Callable[..., object]) -> str:
    found = signature(function)
    lines = [
        f"    {parameter.kind.description}: {parameter}" for parameter in found.parameters.values()
    ]
    return "\n".join([*lines, f"    gives: {found.return_annotation}", ""])


def test_unknown_name() -> None:
    assert not hasattr(splitter, "plan_")


def imported(statement: str) -> set[str]:
    """Top-level packages that are loaded after ``statement`` in a fresh interpreter."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_frameworks_are_loaded_when_needed() -> None:
    assert not imported("import splitter") & {"torch", "tvm", "onnx", "pulp", "numpy"}
    assert not imported("import splitter; splitter.Bundle") & {"torch", "tvm", "onnx", "pulp"}
    assert not imported("import splitter; splitter.load_topology('home')") & {"torch", "tvm"}
    assert "tvm" not in imported("import splitter; splitter.trace")
