"""Dataclasses come back from JSON as they went in, and nothing else comes back at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import RecordError, parse, read_record


@dataclasses.dataclass(frozen=True)
class Inner:
    """What the outer one holds."""

    name: str
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    """One of everything that a run writes."""

    count: int
    done: bool
    kind: Literal["a", "b"]
    words: tuple[str, ...]
    numbers: Mapping[str, int]
    inner: Inner
    rows: tuple[Inner, ...] = ()


inners = st.builds(Inner, st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer, st.integers(), st.booleans(), st.sampled_from(["a", "b"]), st.lists(st.text()).map(tuple),
    st.dictionaries(st.text(), st.integers()), inners, st.lists(inners).map(tuple),
)  # fmt: skip
GOOD: dict[str, Any] = {
    "count": 1,
    "done": True,
    "kind": "a",
    "words": ["x"],
    "numbers": {"n": 1},
    "inner": {"name": "i"},
}


@given(outers)
def test_what_was_written_comes_back(outer: Outer) -> None:
    assert read_record(Outer, parse(json.dumps(dataclasses.asdict(outer)))) == outer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": True}, "count is bool, int expected"),
        ({"count": 1.0}, "count is float, int expected"),
        ({"done": 1}, "done is int, bool expected"),
        ({"kind": "c"}, "kind is 'c'; a or b would do"),
        ({"kind": ["a"]}, "kind is list; a or b would do"),
        ({"words": "abc"}, "words is str"),
        ({"words": [1]}, "words is int, str expected"),
        ({"numbers": {"n": "1"}}, "numbers is str, int expected"),
        ({"numbers": []}, "numbers is list"),
        ({"inner": None}, "inner is no JSON object"),
        ({"inner": {"name": "i", "value": float("nan")}}, "value is float, which is none of"),
        ({"inner": {"name": "i", "value": float("inf")}}, "value is float, which is none of"),
        ({"inner": {"name": "i", "value": 10**400}}, "value is int, which is none of"),
        ({"inner": {}}, "inner has no field 'name'"),
        ({"rows": [{"name": "i"}, {}]}, "rows has no field 'name'"),
        ({"extra": 1}, "it has a field 'extra', which is unknown"),
    ],
)
def test_a_field_of_another_kind_is_named(change: dict[str, Any], said: str) -> None:
    assert read_record(Outer, GOOD)
    with pytest.raises(RecordError, match=said):
        read_record(Outer, GOOD | change)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, '{"a":' * 100_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
