from __future__ import annotations

import io
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from harness.store import Store, StoreError, Table

SCHEMA = pa.schema([("case", pa.string()), ("value", pa.float64())])
HOLD = """
import sys, time
from harness.store import Store
with Store.at(sys.argv[1]).lock("r"):
    print("held", flush=True)
    time.sleep(60)
"""
ROWS = [{"case": "a", "value": 1.0}, {"case": "b", "value": 2.0}]


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    store.write("a/b.txt", b"hello")
    assert store.exists("a/b.txt")
    assert store.read("a/b.txt") == b"hello"
    assert store.names("a") == ["a/b.txt"]


def test_a_relative_folder_means_the_same_place_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.at("store").url == str(tmp_path / "store")


def test_a_file_url_is_the_folder(tmp_path: Path) -> None:
    assert Store.at(f"file://{tmp_path}/runs") == Store.at(str(tmp_path / "runs"))


def test_what_is_not_there_is_one_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing\.json: cannot be read"):
        Store.at(str(tmp_path)).read("missing.json")


def test_a_write_that_fails_leaves_nothing_behind_and_keeps_what_was_there(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    store.write("kept", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match="kept: cannot be written: File too large; nothing already stored is lost"):
            store.write("kept", b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.read("kept") == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_media_are_kept_once_under_their_digest(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    png = (Path(__file__).parents[2] / "benchmarks/embedded/dreambench/dataset/vase/00.jpg").read_bytes()
    first = store.put_media("media", png)
    assert store.put_media("media", png) == first
    assert first.uri == f"media/{first.digest}.jpg"
    assert len(list((tmp_path / "media").iterdir())) == 1


def test_rows_are_read_by_pandas_alone(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS[:1])
    table.append(ROWS[1:])
    frame = pd.read_parquet(tmp_path / "rows")
    assert sorted(frame["case"]) == ["a", "b"]


def test_compacting_leaves_one_shard_with_the_tidied_rows(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS[:1])
    table.append([*ROWS, ROWS[0]])
    table.compact(lambda rows: rows.group_by(rows.column_names).aggregate([]).sort_by("case"))
    assert len(list((tmp_path / "rows").iterdir())) == 1
    assert table.read() == ROWS


def test_rows_that_are_written_twice_are_one_shard(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    table.append(ROWS)
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_compacting_to_what_one_of_the_shards_holds_already_keeps_that_one(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    table.append(ROWS[:1])
    table.compact(lambda rows: rows.group_by(rows.column_names).aggregate([]).sort_by("case"))
    assert len(list((tmp_path / "rows").iterdir())) == 1
    assert table.read() == ROWS


def test_what_a_killed_writer_leaves_aside_is_seen_by_no_reader(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    (tmp_path / "rows" / ".half.parquet.0123.part").write_bytes(b"PAR1 and no more")
    assert table.read() == ROWS
    assert len(pd.read_parquet(tmp_path / "rows")) == 2


def test_another_machines_folder_of_the_same_name_is_not_the_store(tmp_path: Path) -> None:
    mark = Store.at(str(tmp_path / "here")).mark()
    Store.at(str(tmp_path / "here")).require(mark)
    with pytest.raises(StoreError, match="does not see the driver's store"):
        Store.at(str(tmp_path / "there")).require(mark)
    Store.at(str(tmp_path / "there")).mark()
    with pytest.raises(StoreError, match="does not see the driver's store"):
        Store.at(str(tmp_path / "there")).require(mark)


def test_a_table_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Table(Store.at(str(tmp_path)), "rows", SCHEMA).read() == []


def shard_of(folder: Path, table: Table) -> Path:
    table.append(ROWS)
    (shard,) = (folder / table.folder).iterdir()
    return shard


def test_a_shard_that_is_cut_short_anywhere_is_named(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    shard = shard_of(tmp_path, table)
    data = shard.read_bytes()
    for length in range(len(data)):
        shard.write_bytes(data[:length])
        with pytest.raises(StoreError, match=rf"{shard}: a damaged shard .*; remove it and run the same line again"):
            table.read()


@pytest.mark.parametrize("read", [Table.read, lambda table: table.columns("case")])
def test_no_bit_of_a_shard_flips_unseen(tmp_path: Path, read: Callable[[Table], object]) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    shard = shard_of(tmp_path, table)
    data = shard.read_bytes()
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        shard.write_bytes(flipped)
        with pytest.raises(StoreError, match=rf"{shard.name}: a damaged shard"):
            read(table)
    shard.write_bytes(data)
    assert table.read() == ROWS


def test_a_shard_edited_by_hand_is_named(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    shard = shard_of(tmp_path, table)
    pd.read_parquet(shard).assign(value=1.0).to_parquet(shard)
    with pytest.raises(StoreError, match="a damaged shard"):
        table.read()


def test_a_damaged_page_of_a_shard_that_no_digest_names_is_found_by_its_checksum(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    older = shard_of(tmp_path, table).rename(tmp_path / "rows" / "0123456789abcdef0123456789abcdef.parquet")
    assert table.read() == ROWS
    data = older.read_bytes()
    place = data.index(np.float64(2.0).tobytes())
    older.write_bytes(data[:place] + np.float64(3.0).tobytes() + data[place + 8 :])
    with pytest.raises(StoreError, match=r"a damaged shard .*checksum"):
        table.read()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    for name in ("notes.txt", ".DS_Store", "_SUCCESS", "rows.csv"):
        (tmp_path / "rows" / name).write_bytes(b"anything")
    (tmp_path / "rows" / "folder").mkdir()
    table.append(ROWS[:1])
    table.compact(lambda rows: rows.slice(0, 2))
    assert len(table.read()) == 2
    assert len(list((tmp_path / "rows").iterdir())) == 6


@pytest.mark.parametrize("data", [b"", b"not Parquet at all"])
def test_a_foreign_file_that_is_called_a_shard_is_named(tmp_path: Path, data: bytes) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    (tmp_path / "rows/foreign.parquet").write_bytes(data)
    with pytest.raises(StoreError, match=r"rows/foreign\.parquet: a damaged shard"):
        table.read()


@pytest.mark.parametrize("read", [Table.read, lambda table: table.columns("case")])
@pytest.mark.parametrize(
    ("columns", "why"),
    [({"case": ["a"]}, "lacks column value"), ({"value": [1.0]}, "lacks column case"),
     ({"case": ["a"], "value": [1.0], "newer": [1]}, "has column newer, which is unknown here")],
)  # fmt: skip
def test_a_shard_with_other_columns_is_named_and_not_thrown_away(
    tmp_path: Path, columns: dict[str, list[object]], why: str, read: Callable[[Table], object]
) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    Table(table.store, "rows", pa.table(columns).schema).append(pa.table(columns).to_pylist())
    with pytest.raises(StoreError, match=f"{why}: use the anybench that wrote it, or move the file away"):
        read(table)


def test_a_reader_whose_shards_are_joined_meanwhile_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    for row in ROWS:
        table.append([row])
    listed, joined = Table.shards, []

    def joins_after_the_first_look(self: Table) -> list[str]:
        shards = listed(self)
        if not joined:
            joined.append(True)
            table.compact()
        return shards

    monkeypatch.setattr(Table, "shards", joins_after_the_first_look)
    assert sorted(row["case"] for row in table.read()) == ["a", "b"]


def test_a_shard_that_is_damaged_is_said_however_often_one_looks(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    next((tmp_path / "rows").iterdir()).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="a damaged shard"):
        table.read()


def test_media_that_were_damaged_are_written_anew_when_they_are_kept_again(tmp_path: Path) -> None:
    store, picture = Store.at(str(tmp_path)), io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    kept = store.put_media("media", picture.getvalue())
    (tmp_path / kept.uri).write_bytes(b"flipped")
    assert store.put_media("media", picture.getvalue()) == kept
    assert (tmp_path / kept.uri).read_bytes() == picture.getvalue()


def test_a_second_process_is_told_that_the_folder_is_taken_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(StoreError, match="another process is working on this run"), store.lock("r"):
            pass
        holder.kill()
    with store.lock("r"):
        pass


def test_columns_of_a_table_that_grows_meanwhile_belong_together(tmp_path: Path) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    stop = threading.Event()

    def grow() -> None:
        number = 0
        while not stop.is_set():
            table.append([{"case": str(number), "value": float(number)}])
            number += 1

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(30):
            rows = table.columns("case", "value")
            assert [float(one) for one in rows.column("case").to_pylist()] == rows.column("value").to_pylist()
    finally:
        stop.set()
        writer.join()
