"""The tables of a topology file, their units, and a fault in words for everything wrong in one.

Numbers stay decimal until they are in SI units: so a saved file gives back the very same values.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from splitter.suggest import did_you_mean

_LARGEST = Decimal(10) ** 100
_SMALLEST = Decimal(10) ** -100


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")
    number = Decimal(value)
    if not number.is_finite() or abs(number) > _LARGEST:
        raise ValueError("must be a finite number")
    return number


def _positive(value: object) -> Decimal:
    number = _number(value)
    if number < _SMALLEST:
        raise ValueError("must be a number above 0")
    return number


def _not_negative(value: object) -> Decimal:
    number = _number(value)
    if number < 0 or 0 < number < _SMALLEST:
        raise ValueError("must be 0 or a number above 0")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text in quotes, and not empty")
    return value


_Positive = Annotated[Decimal, BeforeValidator(_positive)]
_NotNegative = Annotated[Decimal, BeforeValidator(_not_negative)]
_Text = Annotated[str, BeforeValidator(_text)]
_Patterns = Annotated[list[_Text], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CardTable(_Table):
    """A device card: a file of its own or ``[cards.NAME]``."""

    description: str = ""
    processor: _Text
    mcpu: _Text
    mattr: list[_Text] = []
    threads: int = Field(default=1, ge=1, le=1024)
    vector_bytes: int = Field(default=16, ge=4, le=1024, multiple_of=4)
    gmacs_per_s: _Positive
    memory_gb_per_s: _Positive
    call_overhead_us: _NotNegative
    memory_mb: _Positive
    active_w: _NotNegative


class DeviceTable(_Table):
    """One ``[[devices]]`` entry."""

    name: _Text
    card: _Text
    memory_mb: _Positive | None = None
    threads: int | None = Field(default=None, ge=1, le=1024)
    host: _Text = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    dollars_per_hour: _NotNegative = Decimal(0)
    pin: list[_Text] = []
    ban: list[_Text] = []
    reserve_mb: _NotNegative | None = None
    max_energy_mj: _NotNegative | None = None
    drained: bool = False
    optional: bool = False
    relay: bool = True


class LinkTable(_Table):
    """One ``[[links]]`` entry: two-way with ``between``, one-way with ``from`` and ``to``."""

    between: list[_Text] | None = None
    source: _Text | None = Field(default=None, alias="from")
    target: _Text | None = Field(default=None, alias="to")
    bandwidth_mbit_s: _Positive
    latency_ms: _NotNegative
    energy_nj_per_byte: _NotNegative = Decimal(0)
    shared: _Text | None = None
    dollars_per_gb: _NotNegative = Decimal(0)
    max_mb: _NotNegative | None = None

    @model_validator(mode="after")
    def _names_two_ends(self) -> Self:
        one_way = self.source is not None and self.target is not None
        part_way = self.source is not None or self.target is not None
        two_way = self.between is not None and len(self.between) == 2
        if (two_way and not part_way) or (one_way and self.between is None):
            return self
        raise ValueError(
            'must have either between = ["a", "b"] (two-way) or from = "a" and to = "b" (one-way)'
        )

    def ends(self) -> list[tuple[str, str]]:
        """(source, target) of each one-way link that this entry stands for."""
        if self.between is not None:
            first, second = self.between
            return [(first, second), (second, first)]
        assert self.source is not None
        assert self.target is not None
        return [(self.source, self.target)]


class RuleTable(_Table):
    """One entry of ``pins`` or ``bans`` under ``[constraints]``."""

    layers: _Text
    device: _Text


class LinkCapTable(_Table):
    """One entry of ``link_caps``."""

    source: _Text = Field(alias="from")
    target: _Text = Field(alias="to")
    max_mb: _NotNegative


class EnergyCapTable(_Table):
    """One entry of ``energy_caps``."""

    device: _Text
    max_mj: _NotNegative


class ReserveTable(_Table):
    """One entry of ``reserves``."""

    device: _Text
    memory_mb: _NotNegative


class AtMostTable(_Table):
    """Caps on the plan's figures."""

    latency_ms: _NotNegative | None = None
    period_ms: _NotNegative | None = None
    energy_mj: _NotNegative | None = None
    memory_mb: _NotNegative | None = None
    dollars: _NotNegative | None = None


class ConstraintTable(_Table):
    """The ``[constraints]`` table, or a file of rules."""

    private_input: bool = False
    contiguous: bool = False
    max_sent_mb: _NotNegative | None = None
    max_devices: int | None = Field(default=None, ge=1)
    max_cuts: int | None = Field(default=None, ge=0)
    pins: list[RuleTable] = []
    bans: list[RuleTable] = []
    together: list[_Patterns] = []
    apart: list[_Patterns] = []
    drained: list[_Text] = []
    no_relay: list[_Text] = []
    without: list[_Text] = []
    optional: list[_Text] = []
    link_caps: list[LinkCapTable] = []
    energy_caps: list[EnergyCapTable] = []
    reserves: list[ReserveTable] = []
    at_most: AtMostTable = AtMostTable()


class TopologyTable(_Table):
    """A whole topology file."""

    name: _Text
    description: str = ""
    input: _Text
    output: _Text
    sources: dict[str, _Text] = {}
    sinks: dict[str, _Text] = {}
    replicas: bool = False
    devices: list[DeviceTable] = Field(min_length=1)
    links: list[LinkTable] = []
    constraints: ConstraintTable = ConstraintTable()
    cards: dict[str, CardTable] = {}


T = TypeVar("T", bound=BaseModel)

_PARTS: Mapping[str, type[BaseModel]] = {
    "devices": DeviceTable,
    "links": LinkTable,
    "cards": CardTable,
    "pins": RuleTable,
    "bans": RuleTable,
    "link_caps": LinkCapTable,
    "energy_caps": EnergyCapTable,
    "reserves": ReserveTable,
    "at_most": AtMostTable,
    "constraints": ConstraintTable,
}


def read_table(kind: type[T], data: Mapping[str, Any]) -> tuple[T | None, list[str]]:
    """The table, or None and every fault in it in words."""
    try:
        return kind.model_validate(data), []
    except ValidationError as error:
        return None, [_in_words(kind, data, dict(detail)) for detail in error.errors()]


def _in_words(kind: type[BaseModel], data: Mapping[str, Any], detail: dict[str, Any]) -> str:
    place: tuple[str | int, ...] = detail["loc"]
    where = _where(data, place)
    if detail["type"] == "extra_forbidden":
        keys = _keys(kind, place)
        hint = did_you_mean(str(place[-1]), keys)
        return f"{where} is not a known key{hint} (known: {', '.join(keys)})"
    if detail["type"] == "missing":
        return f"{where} is missing; add it"
    if detail["type"] == "value_error":
        complaint = str(detail["ctx"]["error"])
    else:
        complaint = detail["msg"].replace("Input should", "must").replace("be a valid", "be a")
    return f"{where} = {shown(detail['input'])}: {complaint}"


def _where(data: Mapping[str, Any], place: tuple[str | int, ...]) -> str:
    """``devices 2 ("edge"), memory_mb`` rather than ``devices.1.memory_mb``."""
    words: list[str] = []
    here: Any = data
    for key in place:
        try:
            here = here[key]
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(key, int):
            name = here.get("name") if isinstance(here, dict) else None
            words[-1] += f" {key + 1}" + (f" ({shown(name)})" if name else "")
        else:
            words.append(key)
    return ", ".join(words) or "the file"


def shown(value: object) -> str:
    """A value as the file has it, cut at 80 characters."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {shown(item)}" for key, item in value.items())[:80] + "}"
    if isinstance(value, str):
        return '"' + value[:80] + '"'
    return str(value)[:80]


def _keys(kind: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """Keys allowed at ``place``."""
    for part in place[:-1]:
        kind = _PARTS.get(part, kind) if isinstance(part, str) else kind
    return [field.alias or name for name, field in kind.model_fields.items()]
