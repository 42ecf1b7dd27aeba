"""The published tables: complete, consistent with what was printed, and found by id."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.errors import UsageError
from reports import published as module
from reports.published import published, tables


def test_the_tables_of_three_papers_load_with_all_their_rows_and_numbers() -> None:
    rows = [row for table in tables().values() for row in table.rows]
    assert len(tables()) == 13 and len(rows) == 63
    assert sum(value is not None for row in rows for value in row.values) == 168


@pytest.mark.parametrize("table_id", list(tables()))
def test_every_value_is_the_number_that_was_printed(table_id: str) -> None:
    table = published(table_id)
    for row in table.rows:
        assert len(row.values) == len(row.printed) == len(table.columns)
        for value, printed in zip(row.values, row.printed, strict=True):
            assert printed in ("-", "—") if value is None else float(printed.rstrip("%")) == value


def test_the_column_keys_of_a_table_are_unique_and_say_which_way_is_better() -> None:
    for table in tables().values():
        keys = [column.key for column in table.columns]
        assert len(set(keys)) == len(keys)
        assert {column.direction for column in table.columns} <= {"higher_is_better", "lower_is_better"}


def test_an_unknown_table_is_one_line_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="no published table named 'codi2_t4'; did you mean codi2_t"):
        published("codi2_t4")


def test_the_shipped_file_holds_what_the_reference_holds(shared: Path) -> None:
    ours = Path(str(module.__file__)).with_name("paper_tables.yaml").read_text()
    assert yaml.safe_load(ours) == yaml.safe_load((shared / "reference" / "paper_tables.yaml").read_text())
