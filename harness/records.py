"""JSON read back as the frozen dataclasses that it was written from, every field checked against its annotation.

What a run writes of itself is read by later commands, by other versions of anybench, and after accidents: a number
where a name should be must be said here, and not be met in the middle of a table.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

Record = TypeVar("Record")


class RecordError(ValueError):
    """The JSON is not what the dataclass is written as; the message names the field."""


def parse(text: str | bytes) -> Any:
    """What JSON says; RecordError, or another ValueError, for what is none, or is nested without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise RecordError("nested too deeply") from None


def read_record(kind: type[Record], said: Any, name: str = "it") -> Record:
    """The dataclass `kind` out of a JSON object; RecordError for fields that are absent, unknown or of another type.

    Understood are str, int, float, bool, None, Literal, tuples of one type, mappings from str, and dataclasses. A field
    with a default may be absent.
    """
    if not isinstance(said, dict):
        raise RecordError(f"{name} is no JSON object")
    types_of, fields = _types(kind), {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in said:
        if key not in fields:
            raise RecordError(f"{name} has a field {key!r}, which is unknown; its fields are {', '.join(fields)}")
    for key, field in fields.items():
        if key not in said and field.default is field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{name} has no field {key!r}")
    return kind(**{key: _value(types_of[key], value, key) for key, value in said.items()})


@cache
def _types(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(kind: Any, said: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, said, name)
    if origin is tuple and isinstance(said, list):
        return tuple(_value(inner[0], one, name) for one in said)
    if origin is not None and origin is not Literal and issubclass(origin, Mapping) and isinstance(said, dict):
        return {key: _value(inner[1], one, name) for key, one in said.items()}
    if dataclasses.is_dataclass(kind):
        return read_record(typing.cast(type[Any], kind), said, name)
    if (said in inner) if origin is Literal else _is_a(kind, said):
        return said
    if origin is Literal:
        found = repr(said[:100]) if isinstance(said, str) else type(said).__name__
        raise RecordError(f"{name} is {found}; {' or '.join(map(str, inner))} would do")
    raise RecordError(f"{name} is {type(said).__name__}, {getattr(kind, '__name__', kind)} expected")


def _one_of(kinds: tuple[Any, ...], said: Any, name: str) -> Any:
    for kind in kinds:
        try:
            return _value(kind, said, name)
        except RecordError:
            continue
    raise RecordError(f"{name} is {type(said).__name__}, which is none of {', '.join(map(str, kinds))}")


def _is_a(kind: Any, said: Any) -> bool:
    """Whether a JSON value is of a plain type; a whole number is a float too, true is no number, and NaN is none."""
    if kind is float:
        return type(said) in (int, float) and -sys.float_info.max <= said <= sys.float_info.max
    return type(said) is kind
