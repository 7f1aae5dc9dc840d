"""Strict parsing of plain dicts into frozen dataclasses, and the inverse.

The annotations of a dataclass define its keys: types, ``Annotated`` with a :class:`Rule`, and
:class:`Rest` for the one mapping of free keys. An unknown or missing key, and a value of the wrong
type or out of range, is a ``ValueError`` that names the file, the key, the rule and the nearest
valid name.

A field with a default is an optional key. The inverse omits it at its default, so a configuration
that does not use it keeps its hash.
"""

import dataclasses
import hashlib
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from anneal.config.durations import Duration, parse_duration
from anneal.io.text import did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """Condition on a value, in words and as a predicate."""

    words: str
    holds: Callable[[Any], bool]


class Rest:
    """Marker of the mapping that takes all keys without a field."""


POSITIVE = Rule("must be positive", lambda v: v > 0)
NOT_NEGATIVE = Rule("must not be negative", lambda v: v >= 0)
FRACTION = Rule("must be in [0, 1)", lambda v: 0 <= v < 1)
PART = Rule("must be in (0, 1)", lambda v: 0 < v < 1)
SHARE = Rule("must be in (0, 1]", lambda v: 0 < v <= 1)
SOME_TIME = Rule("must be longer than 0", lambda v: v.value > 0)


def one_of(*names: str) -> Rule:
    """Return the rule that a value is one of these names."""
    return Rule(f"must be one of {', '.join(names)}", lambda v: v in names)


def only(value: object, *, null: str) -> Rule:
    """Return the rule that a value is this one; null says the other, and no third word does.

    Two values of one meaning would give one experiment two hashes.
    """
    shown = json.dumps(value).strip('"')
    return Rule(f"must be {shown}, or null for {null}", lambda v: v == value)


def parse(cls: type[T], section: object, *, where: str, key: str = "") -> T:
    """Parse a plain dict into a frozen dataclass, strictly.

    Args:
        cls: a frozen dataclass, such as those of ``anneal.config.schema``.
        section: the data from YAML.
        where: its file, for messages.
        key: dotted path of ``section`` inside that file.

    Raises:
        ValueError: names ``where``, the key and the rule.
    """
    if not isinstance(section, Mapping):
        at = f"{where}: {key or 'the whole file'}"
        raise ValueError(f"{at} must be a mapping, got {_shown(section)}")
    hints = typing.get_type_hints(cls, include_extras=True)
    rest = _rest_field(hints)
    named = [name for name in hints if name != rest]
    unnamed = {str(name): section[name] for name in section if name not in named}
    if unnamed and rest is None:
        name = next(iter(unnamed))
        hint = did_you_mean(name, named)
        raise ValueError(f"{where}: unknown key '{_dotted(key, name)}'{hint}")
    optional = {name for name, _ in _defaults(cls)}
    missing = [_dotted(key, n) for n in named if n not in section and n not in optional]
    if missing:
        raise ValueError(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}")
    values = {
        name: _convert(hints[name], section[name], where=where, key=_dotted(key, name))
        for name in named
        if name in section
    }
    if rest is not None:
        values[rest] = _plain(unnamed, where=where, key=key)
    return cls(**values)


def _rest_field(hints: Mapping[str, Any]) -> str | None:
    """Return the name of the field marked :class:`Rest`, if any."""
    marked = (n for n, h in hints.items() if Rest in typing.get_args(h)[1:])
    return next(marked, None)


def _defaults(cls: type) -> list[tuple[str, Any]]:
    """Return the optional fields with their defaults."""
    fields = dataclasses.fields(cls)
    made = [
        (f.name, f.default_factory())
        for f in fields
        if f.default_factory is not dataclasses.MISSING
    ]
    return made + [(f.name, f.default) for f in fields if f.default is not dataclasses.MISSING]


def _convert(hint: Any, value: Any, *, where: str, key: str) -> Any:
    """Convert ``value`` to the annotated type, or raise with the place and the rule."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)

    def refuse(kind: str) -> ValueError:
        return ValueError(f"{where}: {key} must be {kind}, got {_shown(value)}")

    if origin is Annotated:
        inner, rule = arguments
        converted = _convert(inner, value, where=where, key=key)
        if converted is not None and not rule.holds(converted):
            raise ValueError(f"{where}: {key} {rule.words}, got {_shown(value)}")
        return converted
    if origin is types.UnionType:  # only "X | None"
        if value is None:
            return None
        return _convert(arguments[0], value, where=where, key=key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise refuse("a list")
        return tuple(
            _convert(arguments[0], item, where=where, key=f"{key}[{i}]")
            for i, item in enumerate(value)
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise refuse("a mapping")
        if arguments[1] is Any:
            return _plain(value, where=where, key=key)
        return {
            str(name): _convert(arguments[1], item, where=where, key=_dotted(key, str(name)))
            for name, item in value.items()
        }
    if dataclasses.is_dataclass(hint) and hint is not Duration:
        return parse(typing.cast(type, hint), value, where=where, key=key)
    if hint is Duration:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValueError(f"{where}: {key} {error}") from None
    if hint is bool and not isinstance(value, bool):
        raise refuse("true or false")
    if hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise refuse("a whole number")
    if hint is float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) <= sys.float_info.max  # NaN too
        ):
            raise refuse("a finite number")
        return float(value)
    if hint is str and (not isinstance(value, str) or not value):
        raise refuse("some text")
    return value


def _plain(value: Any, *, where: str, key: str) -> Any:
    """Return a copy of dicts, lists and scalars; refuse other types and non-finite numbers."""
    if isinstance(value, Mapping):
        return {str(n): _plain(v, where=where, key=_dotted(key, str(n))) for n, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, where=where, key=f"{key}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {key} must be finite, got {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where}: {key} must be plain data, got {type(value).__name__}")


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def to_plain(config: object) -> Any:
    """Convert a parsed configuration to the dicts, lists and scalars that :func:`parse` reads."""
    if isinstance(config, Duration):
        return str(config)
    if dataclasses.is_dataclass(config):
        plain = {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
        for name, default in _defaults(type(config)):
            if getattr(config, name) == default:
                plain.pop(name)
        rest = _rest_field(typing.get_type_hints(type(config), include_extras=True))
        return plain if rest is None else plain | plain.pop(rest)
    if isinstance(config, Mapping):
        return {str(name): to_plain(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return config


def configuration_hash(plain: Mapping[str, Any]) -> str:
    """Return the hash of plain data, 12 hexadecimal digits, independent of the order of keys.

    >>> configuration_hash({"a": 1, "b": 2}) == configuration_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def flatten(plain: object, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings under dotted keys; a list is a leaf.

    >>> list(flatten({"a": {"b": 1, "c": [2]}}))
    [('a.b', 1), ('a.c', [2])]
    """
    if isinstance(plain, Mapping):
        for name, value in plain.items():
            yield from flatten(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, plain


# Keys that change no number; the budget is compared separately.
NO_NUMBERS = ("name", "title", "paper", "tracking", "budget_fraction")


def flat_numbers(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a configuration that change numbers, under dotted keys."""
    return {k: v for k, v in flatten(configuration) if k.split(".")[0] not in NO_NUMBERS}
