"""Names as data: tables map a name to "module:attribute", and nothing is imported until it is loaded."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

from harness.errors import UsageError

Value = TypeVar("Value")

# How many names an error lists where none is near.
LISTED = 20


def find(name: str, table: Mapping[str, Value], kind: str) -> Value:
    """The entry of `table` called `name`; a UsageError that suggests the nearest names where there is none."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=2)
    some = ", ".join(sorted(table)[:LISTED]) + (f", ... ({len(table)} in all)" if len(table) > LISTED else "")
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {some}"
    raise UsageError(f"no {kind} named {name!r}; {hint}")


def load(target: str) -> Any:
    """The attribute that "module:attribute" names, importing the module."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
