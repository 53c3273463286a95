"""Methods by name, and their text form ``name:field=value,field=value``.

The table holds strings, so that naming methods loads no framework.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from splitter.errors import UsageError
from splitter.suggest import did_you_mean

if TYPE_CHECKING:
    from compress.method import Method

_METHODS: Mapping[str, str] = {
    "trp": "trp:TRP",
    "svd": "svd:SVD",
    "slq": "slq:SLQ",
    "gptq": "gptq:GPTQ",
    "kmeans": "direct:KMeans",
    "mlq": "mlq:MLQ",
    "ternary": "ternary:OneShotTernary",
    "dnq": "dnq:DNQ",
    "inq": "inq:INQ",
}


def method_names() -> tuple[str, ...]:
    """All names that `make_method` takes."""
    return tuple(_METHODS)


def make_method(name: str, settings: Mapping[str, Any]) -> "Method":
    """The method ``name`` with these hyper-parameters, the others at their defaults.

    Raises:
        UsageError: there is no such method or hyper-parameter, or its value is impossible.
    """
    kind = _class(name)
    known = hyper_parameters(kind)
    for setting in settings:
        if setting not in known:
            raise UsageError(
                f"{name} has no setting '{setting}'; it has {', '.join(known) or 'none'}"
                f"{did_you_mean(setting, tuple(known))}"
            )
    return kind(**{key: _checked(name, key, known[key], v) for key, v in settings.items()})


def parse_method(text: str) -> "Method":
    """``slq:bits=4,order=loss`` -> ``SLQ(bits=4, order="loss")``; lists are ``0.5+0.75+1``.

    Raises:
        UsageError: as `make_method`, or the text is malformed.
    """
    name, _, rest = text.partition(":")
    known = hyper_parameters(_class(name))
    settings: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"'{text}': write {name}:setting=value,setting=value")
        settings[key] = _parsed(name, key, known.get(key, str), value)
    return make_method(name, settings)


def format_method(method: "Method") -> str:
    """The inverse of `parse_method`; settings at their defaults are left out."""
    given = settings_of(method)
    text = ",".join(f"{key}={_text(value)}" for key, value in given.items())
    return f"{method.name}:{text}" if text else method.name


def settings_of(method: "Method") -> dict[str, Any]:
    """Hyper-parameters that differ from their defaults; tuples as lists."""
    found: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if field.init and value != field.default:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def hyper_parameters(kind: "type[Method]") -> dict[str, Any]:
    """Type of each hyper-parameter, by name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _class(name: str) -> "type[Method]":
    if name not in _METHODS:
        raise UsageError(
            f"no compression method '{name}'; there are {', '.join(_METHODS)}"
            f"{did_you_mean(name, method_names())}"
        )
    module, attribute = _METHODS[name].split(":")
    kind: type[Method] = getattr(import_module(f"compress.{module}"), attribute)
    return kind


def _checked(method: str, key: str, kind: Any, value: Any) -> Any:
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_checked(method, key, get_args(kind)[0], item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(kind, type) or type(value) is not kind:
        raise UsageError(f"{method}: {key} must be {_kind_text(kind)}, not {value!r}")
    return value


def _parsed(method: str, key: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is tuple:
        return [_parsed(method, key, get_args(kind)[0], part) for part in text.split("+")]
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if kind is float:
        try:
            return float(text)
        except ValueError:
            pass
    if kind is str:
        return text
    raise UsageError(f"{method}: {key} must be {_kind_text(kind)}, not '{text}'")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(_text, value)) if isinstance(value, list) else str(value)


def _kind_text(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "a list of numbers"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return names[kind]
