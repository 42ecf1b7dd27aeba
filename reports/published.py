"""The result tables of the papers, as data: `paper_tables.yaml`, every number beside the characters that were printed.

Published rows are reference data and never pass or fail marks: no paper here states its protocol in full. Directions,
units and remarks are the transcription's; a value is None where the paper printed a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from harness.names import find


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """One metric of a printed table; `key` is the name of our metric that answers it, `group` a heading above it."""

    key: str
    metric: str
    direction: Literal["higher_is_better", "lower_is_better"]
    unit: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One system of a printed table; `values` and `printed` stand in the order of the columns."""

    system: str
    printed_label: str
    cite: str | None
    group: str | None
    values: tuple[float | None, ...]
    printed: tuple[str, ...]
    note: str | None


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table of one paper, in print order; `part` names a half of a table that was printed as two."""

    id: str
    paper: str
    arxiv: str | None
    source_text: str
    table: str
    title: str
    benchmark: str
    task: str
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]
    remarks: tuple[str, ...]
    part: str | None = None


@cache
def tables() -> Mapping[str, PublishedTable]:
    """Every published table by its id."""
    text = Path(__file__).with_name("paper_tables.yaml").read_text(encoding="utf-8")
    return {values["id"]: _table(values) for values in yaml.safe_load(text)["tables"]}


def published(table_id: str) -> PublishedTable:
    """The published table of that id; a UsageError that suggests the nearest ids where there is none."""
    return find(table_id, tables(), "published table")


def _table(values: dict[str, Any]) -> PublishedTable:
    columns = tuple(PublishedColumn(**column) for column in values.pop("columns"))
    rows = tuple(_row(row) for row in values.pop("rows"))
    return PublishedTable(columns=columns, rows=rows, remarks=tuple(values.pop("remarks")), **values)


def _row(values: dict[str, Any]) -> PublishedRow:
    numbers, printed = tuple(values.pop("values")), tuple(values.pop("printed"))
    return PublishedRow(values=numbers, printed=printed, **values)
