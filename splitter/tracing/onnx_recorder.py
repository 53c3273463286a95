"""Records the torch functions that converters call as a torch.fx graph.

Model inputs are FakeTensors (shape and type, no data), weights are real tensors. A torch function
whose arguments are all real is run at once: so shape arithmetic folds away by itself. A function
that sees a FakeTensor becomes a node of the graph. Converters thus are plain torch code that knows
every shape.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from splitter.tracing.onnx_patterns import SHAPE

_ROLES: Mapping[Callable[..., Any], tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    F.embedding: ("indices", "weight"),
    torch.conv1d: ("input", "weight", "bias"),
    torch.conv2d: ("input", "weight", "bias"),
    torch.conv3d: ("input", "weight", "bias"),
    torch.conv_transpose1d: ("input", "weight", "bias"),
    torch.conv_transpose2d: ("input", "weight", "bias"),
    torch.conv_transpose3d: ("input", "weight", "bias"),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias"),
    F.layer_norm: ("input", "shape", "weight", "bias"),
    F.prelu: ("input", "weight"),
}
"""What a constant is called by its place in a call, where the file gives it no name."""
_RESERVED = frozenset(dir(torch.nn.Module()))
_STATISTICS = ("running_mean", "running_var")
_PARAMETERS = ("weight", "bias", *_STATISTICS)
_ROLE_WORD = re.compile(
    r"(?<=.)[._/]+(w|b|weights?|bias|kernel|gamma|beta|scale|offset|mean|var|variance|[wb]_\d+)$"
)
_ANONYMOUS = re.compile(r"^(onnx::\w+|\w*@?\d+|(.*/)?(Constant|Identity)(_\d+)?(_output_0)?)$")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a constant comes from."""

    name: str
    trainable: bool


class Recorder(TorchFunctionMode):
    """Context in which torch functions on the model's values are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[str, torch.Tensor] = {}
        """Parameters and buffers that the graph reads, by attribute path."""
        self._fake = FakeTensorMode()
        self._nodes: dict[int, tuple[torch.Tensor, fx.Node]] = {}
        self._origins: dict[int, tuple[torch.Tensor, _Origin]] = {}
        self._attributes: dict[str, list[tuple[torch.Tensor, fx.Node]]] = {}
        self._owner = ""

    def placeholder(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A model input."""
        with self._fake:
            value = torch.empty(tuple(shape), dtype=dtype)
        node = self.graph.placeholder(identifier(name))
        node.meta[SHAPE] = tuple(shape)
        self._nodes[id(value)] = (value, node)
        return value

    def constant(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Register a tensor of the file; a floating-point one is trainable."""
        self._origins[id(value)] = (value, _Origin(name, value.is_floating_point()))
        return value

    def name_constant(self, name: str, value: torch.Tensor, *, trainable: bool) -> None:
        """Name a tensor that an operator made of nothing, unless it has a name."""
        if not isinstance(value, FakeTensor) and id(value) not in self._origins:
            origin = _Origin(name, trainable and value.is_floating_point())
            self._origins[id(value)] = (value, origin)

    def enter_node(self, name: str, op_type: str) -> None:
        """Name the ONNX node whose converter runs next: unnamed constants are called after it."""
        self._owner = re.sub(rf"[/.]?{op_type}(_\d+)?(_output_0)?$", "", name) or name

    def output(self, values: Iterable[torch.Tensor]) -> None:
        """End the graph."""
        self.graph.output(tuple(self._node(value, "output") for value in values))

    def module(self) -> fx.GraphModule:
        """The recorded graph with its parameters and buffers."""
        root = torch.nn.Module()
        for path, tensor in self.constants.items():
            _place(root, path.split("."), tensor)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        return fx.GraphModule(root, self.graph)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return self._folded(func(*args, **kwargs), tensors)
        with self._fake:
            fake_args, fake_kwargs = pytree.tree_map_only(
                torch.Tensor, self._as_fake, (args, kwargs)
            )
            result = func(*fake_args, **fake_kwargs)
        if any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(result)):
            self._record(func, args, kwargs, result)
        return result

    def _as_fake(self, value: torch.Tensor) -> torch.Tensor:
        return value if isinstance(value, FakeTensor) else self._fake.from_tensor(value)

    def _folded(self, result: Any, sources: Sequence[torch.Tensor]) -> Any:
        """Let constants computed from constants inherit the first source's name."""
        origins = [self._origins[id(t)][1] for t in sources if id(t) in self._origins]
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and origins and id(leaf) not in self._origins:
                trainable = leaf.is_floating_point() and any(o.trainable for o in origins)
                self._origins[id(leaf)] = (leaf, _Origin(origins[0].name, trainable))
        return result

    def _record(
        self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any], result: Any
    ) -> None:
        roles = _ROLES.get(func, ())
        named = [
            self._argument(arg, roles[i] if i < len(roles) else "constant")
            for i, arg in enumerate(args)
        ]
        keyed = {key: self._argument(arg, key) for key, arg in kwargs.items()}
        if _is_method(func):
            node = self.graph.call_method(func.__name__, tuple(named), keyed)
        else:
            node = self.graph.call_function(func, tuple(named), keyed)
        self._remember(result, node)

    def _remember(self, result: Any, node: fx.Node) -> None:
        if isinstance(result, torch.Tensor):
            node.meta[SHAPE] = tuple(result.shape)
            self._nodes.setdefault(id(result), (result, node))
            return
        for index, item in enumerate(result):
            self._remember(item, self.graph.call_function(operator.getitem, (node, index)))

    def _argument(self, value: Any, role: str) -> Any:
        return pytree.tree_map_only(torch.Tensor, lambda tensor: self._node(tensor, role), value)

    def _node(self, value: torch.Tensor, role: str) -> fx.Node:
        if id(value) in self._nodes:
            return self._nodes[id(value)][1]
        unnamed = _Origin("", trainable=False)
        origin = self._origins[id(value)][1] if id(value) in self._origins else unnamed
        for known, node in self._attributes.get(origin.name, []) if origin.name else []:
            if known.dtype == value.dtype and torch.equal(known, value):
                return node
        node = self._attribute(value, origin, role)
        self._nodes[id(value)] = (value, node)
        self._attributes.setdefault(origin.name, []).append((value, node))
        return node

    def _attribute(self, value: torch.Tensor, origin: _Origin, role: str) -> fx.Node:
        anonymous = not origin.name or _ANONYMOUS.match(origin.name)
        name = f"{self._owner}/{role}" if anonymous else in_role(origin.name, role)
        path = _free(attribute_path(name), self.constants)
        trainable = origin.trainable and role not in _STATISTICS
        held = value.detach().clone(memory_format=torch.contiguous_format)
        self.constants[path] = torch.nn.Parameter(held) if trainable else held
        node = self.graph.get_attr(path)
        node.meta[SHAPE] = tuple(value.shape)
        return node


def _place(root: torch.nn.Module, path: Sequence[str], tensor: torch.Tensor) -> None:
    for part in path[:-1]:
        if not hasattr(root, part):
            root.add_module(part, torch.nn.Module())
        root = root.get_submodule(part)
    if isinstance(tensor, torch.nn.Parameter):
        root.register_parameter(path[-1], tensor)
    else:
        root.register_buffer(path[-1], tensor)


def identifier(name: str) -> str:
    """``name`` as a Python identifier."""
    cleaned = re.sub(r"\W", "_", name)
    return f"_{cleaned}" if cleaned[:1].isdigit() or not cleaned else cleaned


def in_role(name: str, role: str) -> str:
    """``name`` with ``role`` as last part if it is a parameter's: frameworks differ in these words.

    ``conv1_weights``, ``conv1.w_0`` and ``conv1/kernel`` all become ``conv1.weight`` as a weight.
    """
    if role not in _PARAMETERS or re.search(rf"(^|[./]){role}$", name):
        return name
    return f"{_ROLE_WORD.sub('', name)}/{role}"


def attribute_path(name: str) -> str:
    """An ONNX name as the path of a torch parameter: dots and slashes make sub-modules."""
    parts = [re.sub(r"\W", "_", part) for part in re.split(r"[./]", name) if part]
    return ".".join(f"{part}_" if part in _RESERVED else part for part in parts) or "constant"


def _free(path: str, taken: Mapping[str, Any]) -> str:
    """``path``, changed until it is neither taken nor the parent or child of a taken one."""
    candidate, count = path, 0
    while any(_overlap(candidate, other) for other in taken):
        count += 1
        candidate = f"{path.replace('.', '_')}_{count}"
    return candidate


def _overlap(a: str, b: str) -> bool:
    return a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")


def _is_method(func: Callable[..., Any]) -> bool:
    return getattr(torch.Tensor, func.__name__, None) is func
