"""A store behind a URL: S3, from a server in this process, and what holds for every fsspec backend."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from media_toys import drawing
from PIL import Image
from s3_server import S3Server

from harness.media import MediaError, encode_image, read_image
from harness.nouns import Media
from harness.store import Store, StoreError, Table

SCHEMA = pa.schema([("case", pa.string()), ("value", pa.float64())])
ROWS = [{"case": "a", "value": 1.0}, {"case": "b", "value": 2.0}]
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture
def store(s3: S3Server) -> Store:
    """A store in a bucket."""
    return Store.at("s3://bucket/runs")


@pytest.fixture(params=["s3://bucket/runs", "memory://{}/runs", "{}"])
def any_store(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> Store:
    """Stores of every kind."""
    return Store.at(request.param.format(tmp_path))


def uses(store: Store) -> list[Callable[[], object]]:
    """Whatever can be asked of a store."""
    return [
        lambda: store.read("a"),
        lambda: store.find("a"),
        lambda: store.exists("a"),
        lambda: store.write("a", b""),
        lambda: store.create("a", b""),
        lambda: store.names("folder"),
        lambda: store.remove("a"),
        lambda: store.mark(),
        lambda: store.lock("r").__enter__(),
    ]


def test_every_kind_of_store_keeps_files_and_rows_alike(any_store: Store) -> None:
    store = any_store
    assert store.names("a") == [] and not store.exists("a/b.txt") and store.find("a/b.txt") is None
    store.write("a/b.txt", b"old")
    store.write("a/b.txt", b"new")
    store.write("a/deeper/c.txt", b"")
    assert store.exists("a/b.txt") and store.read("a/b.txt") == store.find("a/b.txt") == b"new"
    assert store.read("a/deeper/c.txt") == b""
    assert store.names("a") == ["a/b.txt", "a/deeper"]
    assert not store.create("a/b.txt", b"newer") and store.read("a/b.txt") == b"new"
    assert store.create("a/d.txt", b"first") and store.read("a/d.txt") == b"first"
    store.remove("a/b.txt")
    store.remove("a/b.txt")
    assert store.names("a") == ["a/d.txt", "a/deeper"]
    table = Table(store, "rows", SCHEMA)
    table.append(ROWS[:1])
    table.append(ROWS[1:])
    assert sorted(row["case"] for row in table.read()) == ["a", "b"]
    table.compact()
    assert len(store.names("rows")) == 1 and len(table.read()) == 2
    with store.lock("r"):
        store.write("r/x", b"")
    store.require(store.mark())


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/a/b/"])
def test_a_store_may_be_a_whole_bucket_and_a_slash_at_the_end_means_nothing(s3: S3Server, url: str) -> None:
    store = Store.at(url)
    store.write("runs/r/x", b"hello")
    assert (store.names("runs"), store.names("runs/r"), store.read("runs/r/x")) == (["runs/r"], ["runs/r/x"], b"hello")
    assert s3.asked[0] == ("PUT", f"/{url.removeprefix('s3://').rstrip('/')}/runs/r/x")


def test_what_another_process_wrote_is_seen_at_once(s3: S3Server, store: Store) -> None:
    assert store.names("a") == [] and not store.exists("a/1")
    s3.put("bucket/runs/a/1", b"")
    assert store.names("a") == ["a/1"] and store.exists("a/1")
    s3.put("bucket/runs/a/2", b"")
    assert store.names("a") == ["a/1", "a/2"] and store.exists("a/2")


def test_a_worker_is_sent_the_url_alone(s3: S3Server, store: Store) -> None:
    store.write("a", b"")
    with store.lock("r"):
        sent = pickle.dumps(store)
    assert pickle.loads(sent) == store
    assert len(sent) < 150 and b"filesystem" not in sent


def test_a_shard_is_one_put_and_a_look_at_a_table_one_list_and_a_get_a_shard(s3: S3Server, store: Store) -> None:
    table = Table(store, "rows", SCHEMA)
    for number in range(20):
        table.append([{"case": str(number), "value": number}])
    assert [method for method, _ in s3.asked] == ["PUT"] * 20
    s3.asked.clear()
    assert len(table.read()) == 20
    assert (s3.count("GET", "list-type=2"), s3.count("GET", ".parquet"), len(s3.asked)) == (1, 20, 21)
    s3.asked.clear()
    table.compact()
    assert (s3.count("PUT"), s3.count("DELETE")) == (1, 20)


def test_a_listing_of_many_pages_is_whole(s3: S3Server, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"many/{number}" for number in range(7)]
    store.each(lambda name: store.write(name, b""), names)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    s3.asked.clear()
    assert store.names("many") == names
    assert s3.count("GET", "continuation-token") == 2


def test_an_empty_file_that_stands_for_a_folder_is_no_entry_of_it(s3: S3Server, store: Store) -> None:
    s3.put("bucket/runs/a/", b"")
    store.write("a/b", b"")
    assert store.names("a") == ["a/b"]


def test_of_many_that_create_a_file_one_succeeds(store: Store) -> None:
    made = store.each(lambda name: store.create("one", name.encode()), [str(number) for number in range(16)])
    assert made.count(True) == 1
    assert store.read("one") == str(made.index(True)).encode()


@pytest.mark.parametrize(
    ("status", "code", "there"),
    [("412 Precondition Failed", "PreconditionFailed", True), ("409 Conflict", "ConditionalRequestConflict", True),
     ("501 Not Implemented", "NotImplemented", False)],
)  # fmt: skip
def test_servers_that_are_not_amazons_say_it_in_words_of_their_own(
    s3: S3Server, store: Store, status: str, code: str, there: bool
) -> None:
    said = f"<Error><Code>{code}</Code><Message>of its own</Message></Error>".encode()
    s3.refusal = lambda environ: (status, said) if "HTTP_IF_NONE_MATCH" in environ else None
    assert store.create("a", b"mine") != there
    assert store.find("a") == (None if there else b"mine")


def test_media_are_read_from_a_bucket_and_checked_by_digest(s3: S3Server, store: Store) -> None:
    picture = Image.fromarray(drawing())
    kept = store.put_media("media", encode_image(picture))
    there = Media("image", uri=store.path(kept.uri), digest=kept.digest)
    assert np.array_equal(np.asarray(read_image(there)), drawing())
    assert [method for method, _ in s3.asked] == ["PUT", "HEAD", "GET"]
    assert store.put_media("media", encode_image(picture)) == kept and len(store.names("media")) == 1
    store.write(kept.uri, encode_image(picture.rotate(90)))
    with pytest.raises(MediaError, match=r"s3://bucket/runs/media/.*changed since its digest was taken"):
        read_image(there)
    with pytest.raises(MediaError, match="s3://bucket/runs/nothing: no such file"):
        read_image(Media("image", uri=store.path("nothing")))


def refused(uses: list[Callable[[], object]], why: str) -> None:
    """Each is one line that names the store, and all are said within seconds."""
    start = time.monotonic()
    for use in uses:
        with pytest.raises(StoreError, match=why) as caught:
            use()
        assert str(caught.value).startswith("s3://") and "\n" not in str(caught.value)
    assert time.monotonic() - start < 20


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_bucket_that_is_not_there_is_one_line(s3: S3Server) -> None:
    read, find, _, write, create, names, _, mark, lock = uses(Store.at("s3://no-such-bucket/runs"))
    refused([read, find, write, create, names, mark, lock], "The specified bucket does not exist")


def test_denied_access_is_one_line(s3: S3Server, store: Store) -> None:
    s3.refusal = lambda environ: ("403 Forbidden", DENIED)
    refused(uses(store), "Access Denied|Forbidden")


def test_no_credentials_are_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(uses(store), "Unable to locate credentials")


def test_a_server_that_is_down_is_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
    refused(uses(store)[2:4], "Could not connect to the endpoint URL")


def test_a_server_that_is_down_is_no_fault_of_the_picture(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
    refused([lambda: read_image(Media("image", uri="s3://bucket/a.png"))], "Could not connect to the endpoint URL")


def test_patience_is_the_users_to_set(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.refusal = lambda environ: ("500 Internal Server Error", b"")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    refused([lambda: Store.at("s3://bucket/runs").write("a", b"")], "cannot be written")
    assert len(s3.asked) == 1


def test_a_short_fault_of_the_server_is_tried_again(s3: S3Server, store: Store) -> None:
    s3.refusal = lambda environ: ("503 Service Unavailable", b"") if len(s3.asked) < 2 else None
    store.write("a", b"hello")
    assert store.read("a") == b"hello"


@pytest.mark.parametrize(
    ("url", "why"),
    [("s3://", "no bucket is named"), ("nosuch://bucket/runs", "Protocol not known: nosuch"),
     ("gs://bucket/runs", "install gcsfs"), ("s3://bucket/a?b", "cannot hold"), ("zip::s3://bucket/a", "cannot hold")],
)  # fmt: skip
def test_a_url_that_leads_nowhere_is_one_line(url: str, why: str) -> None:
    with pytest.raises(StoreError, match=why) as caught:
        Store.at(url).exists("a")
    assert f"--store {url}: " in str(caught.value)


def test_a_node_whose_endpoint_leads_elsewhere_does_not_see_the_store(
    s3: S3Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = store.mark()
    assert store.mark() == mark
    store.require(mark)
    store.write("store.id", b"another bucket's")
    with pytest.raises(StoreError, match="does not see the driver's store there; give every node the same endpoint"):
        pickle.loads(pickle.dumps(store)).require(mark)
    store.remove("store.id")
    with pytest.raises(StoreError, match="does not see the driver's store"):
        store.require(mark)
