"""The fields of a placement file, and a fault in words for everything wrong in one.

The format is that of Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph
Operators", 2020. Sizes stay decimal, as a sum of them is compared with a limit.
"""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

_LARGEST = Decimal(10) ** 100
_SMALLEST = Decimal(10) ** -100
_SHOWN = 5
"""Faults that a message lists."""


def _whole(value: object) -> int:
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _count(value: object) -> int:
    found = _whole(value)
    if not 0 <= found <= 1000:
        raise ValueError("must be between 0 and 1000")
    return found


def _amount(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")
    number = Decimal(value)
    if not number.is_finite() or abs(number) > _LARGEST:
        raise ValueError("must be a finite number")
    if number < 0:
        raise ValueError("must not be negative")
    return number if number >= _SMALLEST else Decimal(0)


def _flag(value: object) -> bool:
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise ValueError("must be true, false, 0 or 1")


_Whole = Annotated[int, BeforeValidator(_whole)]
_Count = Annotated[int, BeforeValidator(_count)]
_Amount = Annotated[Decimal, BeforeValidator(_amount)]
_Flag = Annotated[bool, BeforeValidator(_flag)]


class _Record(BaseModel):
    # Files carry names, layer numbers and tensor sizes besides; nobody needs them here.
    model_config = ConfigDict(extra="ignore", frozen=True)


class NodeRecord(_Record):
    """One of ``nodes``."""

    id: _Whole
    supported: _Flag = Field(alias="supportedOnFpga")
    cpu_ms: _Amount = Field(alias="cpuLatency")
    accelerator_ms: _Amount = Field(alias="fpgaLatency")
    backward: _Flag = Field(alias="isBackwardNode")
    color: _Whole | None = Field(alias="colorClass", default=None)
    size_bytes: _Amount = Field(alias="size", default=Decimal(0))


class EdgeRecord(_Record):
    """One of ``edges``."""

    source: _Whole = Field(alias="sourceId")
    target: _Whole = Field(alias="destId")
    cost_ms: _Amount = Field(alias="cost")


class PlacementRecord(_Record):
    """A whole file."""

    memory_bytes: _Amount = Field(alias="maxSizePerFPGA")
    accelerators: _Count = Field(alias="maxFPGAs")
    processors: _Count = Field(alias="maxCPUs")
    nodes: list[NodeRecord] = Field(min_length=1)
    edges: list[EdgeRecord]


def read_record(data: object) -> tuple[PlacementRecord | None, list[str]]:
    """The record, or its faults in words."""
    try:
        return PlacementRecord.model_validate(data), []
    except ValidationError as error:
        return None, _listed([_fault(one, data) for one in error.errors()])


def _listed(faults: list[str]) -> list[str]:
    more = len(faults) - _SHOWN
    return faults if more <= 0 else [*faults[:_SHOWN], f"and {more} more of the kind"]


def _fault(error: Any, data: object) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    where = where.lstrip(".") or "the file"
    if error["type"] == "missing":
        return f"{where} is missing; every field but size and colorClass must be there"
    if error["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return f"{where} must be an object in braces"
    if error["type"] == "list_type":
        return f"{where} must be a list in brackets"
    if error["type"] == "too_short":
        return f"{where} is empty; give at least one node"
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"{where} {reason}, not {_shown(error['input'])}"


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
