from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

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


@pytest.mark.parametrize("url", ["memory://bucket/runs", "file://{}/elsewhere"])
def test_a_url_is_a_store_too(tmp_path: Path, url: str) -> None:
    store = Store.at(url.format(tmp_path))
    store.write("a/b.txt", b"hello")
    table = Table(store, "rows", SCHEMA)
    table.append(ROWS)
    table.compact()
    assert store.read("a/b.txt") == b"hello"
    assert store.names("a") == ["a/b.txt"]
    assert table.read() == ROWS
    with store.lock("r"):
        pass


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
    table.append(ROWS)
    table.append(ROWS)
    table.compact(lambda rows: rows.slice(0, 2))
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


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"x" * len(data)])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: object) -> None:
    table = Table(Store.at(str(tmp_path)), "rows", SCHEMA)
    table.append(ROWS)
    (shard,) = (tmp_path / "rows").iterdir()
    shard.write_bytes(damage(shard.read_bytes()))  # type: ignore[operator]
    with pytest.raises(StoreError, match=rf"{shard.name}: a damaged shard"):
        table.read()


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
