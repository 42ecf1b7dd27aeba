"""Files that hold the digest of their own bytes: not one of their bits flips unseen."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from harness.nouns import Score
from harness.scoring import SCORES, Scored, write_scores
from harness.sealing import KEY, seal_holds
from harness.store import Store, StoreError, Table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of scores. Its last column begins at byte 516, one bit from byte 4, where the first one does."""
    scores = [Score("likeness", f"c{number}", 0, 0, 0, 0.25 * number) for number in range(3)]
    write_scores(Store.at(str(tmp_path)), "run", Scored("likeness", tuple(scores), ()))
    return tmp_path / "run/scores/likeness.parquet"


def test_no_bit_of_a_scores_file_flips_to_another_number(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among its footer's bits are those that make the pages of one column, which are whole, read as another's."""
    table, good = Table(Store.at(str(tmp_path)), "run/scores", SCORES), file.read_bytes()
    (name,) = table.shards()
    rows, refused, flipped = table.read_shard(name), 0, bytearray(good)
    monkeypatch.setattr(Store, "read", lambda store, name: bytes(flipped))
    for position in range(8 * len(good)):
        flipped[position // 8] ^= 1 << position % 8
        try:
            assert table.read_shard(name) == rows, position
        except StoreError as error:
            assert str(file) in str(error)
            refused += 1
        flipped[position // 8] ^= 1 << position % 8
    # What names the seal can be lost, and then the file is one without.
    assert refused == 8 * (len(good) - len(KEY))


def test_a_sealed_file_cut_short_or_longer_is_refused(file: Path) -> None:
    good = file.read_bytes()
    assert seal_holds(good)
    assert not seal_holds(good + b"x") and not seal_holds(good[1:]) and not seal_holds(good.replace(b"sha256:", b""))


def test_a_file_without_a_seal_is_read_as_it_is(file: Path) -> None:
    buffer = io.BytesIO()
    pd.read_parquet(file).to_parquet(buffer)
    assert KEY.encode() not in buffer.getvalue() and seal_holds(buffer.getvalue())
