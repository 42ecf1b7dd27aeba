"""The store: a folder, or an fsspec URL, that all workers can reach.

    store.id                                the store's mark, by which workers know that it is the same one
    inputs/<digest>.<suffix>                the media of suites, shared by every run
    features/<extractor>-<digest>/          features of those media, shared by every run
    runs/<run id>/run.json                  what the run is: identity, settings, provenance
    runs/<run id>/cases.jsonl               its cases
    runs/<run id>/generations/              one row for each turn of each sample
    runs/<run id>/media/<digest>.<suffix>   what was generated
    runs/<run id>/features/<extractor>-<digest>/
    runs/<run id>/scores/<metric>.parquet
    runs/<run id>/summary.json, status.json

A table is a folder of Parquet shards. A file exists whole or not at all: it is written aside and renamed on a local
disk, and is one PUT elsewhere. Rows carry their own keys, so a shard that is written twice counts once.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from harness import media
from harness.errors import UsageError, one_line
from harness.identity import digest_bytes
from harness.nouns import Media

MARK = "store.id"


class StoreError(UsageError):
    """The store cannot be written or read; what it already holds stays, and the same command goes on from there."""


@dataclass(frozen=True)
class Store:
    """A place for files, by paths relative to `url`."""

    url: str

    @classmethod
    def at(cls, url: str) -> Store:
        """The store at a folder or URL; a folder is made absolute, so that every worker means the same one."""
        path = url.removeprefix("file://")
        if "?" in path or "::" in path:
            raise StoreError(f"--store {url}: a store's name cannot hold ? or ::, which mean something in URLs")
        return cls(path if "://" in path else os.path.abspath(path))

    @cached_property
    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.url)[0]

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine (or one mounted on it)."""
        return "://" not in self.url

    def path(self, name: str) -> str:
        """The full path or URL of a file of the store; an absolute one is kept as it is."""
        return name if os.path.isabs(name) or "://" in name else f"{self.url.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self._filesystem.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """The bytes of a file; StoreError when it is not there."""
        try:
            return bytes(self._filesystem.cat_file(self.path(name)))
        except OSError as error:
            raise StoreError(f"{self.path(name)}: cannot be read: {error}") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, durably; StoreError (a full disk, no permission) leaves nothing behind."""
        path = self.path(name)
        try:
            if self.is_local:
                _write_aside(path, data)
            else:
                self._filesystem.pipe_file(path, data)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {error.strerror or error}; nothing already stored is lost: "
                "mend it and run the same line again"
            ) from error

    def names(self, folder: str) -> list[str]:
        """The names, relative to the store, of the entries of a folder, sorted; none when it is not there."""
        self._filesystem.invalidate_cache()
        try:
            entries = self._filesystem.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.path(folder)}: cannot be listed: {error.strerror or error}") from error
        return sorted(f"{folder}/{os.path.basename(str(entry).rstrip('/'))}" for entry in entries)

    def remove(self, name: str) -> None:
        """Remove a file; one that is already gone is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self.path(name))

    def put_media(self, folder: str, data: bytes) -> Media:
        """Keep encoded media under its digest, once; raises harness.media.MediaError for bytes of no known format."""
        modality, suffix = media.sniff(data)
        digest = digest_bytes(data)
        name = f"{folder}/{digest}{suffix}"
        if not self.exists(name):
            self.write(name, data)
        return Media(modality, uri=name, digest=digest)

    def mark(self) -> str:
        """A folder's own mark, made when it is first used, by one process of those that try; "" for a URL."""
        if not self.is_local:
            return ""
        if not self.exists(MARK):
            own = f".{uuid.uuid4().hex}"
            self.write(own, own.encode())
            try:
                os.link(self.path(own), self.path(MARK))
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                self.write(MARK, own.encode())
            finally:
                self.remove(own)
        return self.read(MARK).decode()

    def require(self, mark: str) -> None:
        """Make sure that this machine sees the store that the driver sees, and not a folder of the same name."""
        if mark and not (self.exists(MARK) and self.read(MARK).decode() == mark):
            raise StoreError(
                f"{self.url}: node {platform.node()} does not see the driver's store there; "
                "give a folder on a disk that all nodes share, or a URL such as s3://bucket/runs"
            )

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Hold a folder of a local store against other processes; StoreError when another holds it.

        The kernel lets go when the process dies, so a killed run leaves nothing to clean up.
        """
        if not self.is_local:
            yield
            return
        path = self.path(f"{folder}/lock")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            handle = open(path, "w")  # noqa: SIM115  (held for as long as the lock is)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.path(folder)}: another process is working on this run; wait for it, or end it first"
                ) from error
            yield


@dataclass(frozen=True)
class Table:
    """Rows of one schema in a folder of shards."""

    store: Store
    folder: str
    schema: pa.Schema

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows as one new shard."""
        if rows:
            self._write(f"{self.folder}/{uuid.uuid4().hex}.parquet", pa.Table.from_pylist(list(rows), self.schema))

    def read(self) -> list[dict[str, Any]]:
        """All rows, shard by shard; StoreError names a damaged shard, which may be removed to redo its rows."""
        rows: list[dict[str, Any]] = self._joined(map(self._read, self._shards())).to_pylist()
        return rows

    def columns(self, *names: str) -> pa.Table:
        """Some columns of all rows, of one look at the shards: others may be adding to them meanwhile."""
        return self._joined(self._read(shard, list(names)) for shard in self._shards()).select(list(names))

    def compact(self, tidy: Callable[[pa.Table], pa.Table] = lambda table: table) -> None:
        """Make one shard of several; `tidy` may drop rows that others supersede.

        A reader in between, or after a crash, meets some rows twice, never one too few.
        """
        shards = self._shards()
        if len(shards) > 1:
            self._write(f"{self.folder}/{uuid.uuid4().hex}.parquet", tidy(self._joined(map(self._read, shards))))
            for shard in shards:
                self.store.remove(shard)

    def _shards(self) -> list[str]:
        return [name for name in self.store.names(self.folder) if name.endswith(".parquet")]

    def _write(self, name: str, rows: pa.Table) -> None:
        self.store.write(name, parquet(rows))

    def _joined(self, shards: Iterable[pa.Table]) -> pa.Table:
        tables = list(shards)
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def _read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        data = self.store.read(name)
        try:
            table = pq.read_table(io.BytesIO(data), columns=columns)
            return table.cast(pa.schema([self.schema.field(column) for column in table.column_names]))
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise StoreError(
                f"{self.store.path(name)}: a damaged shard ({one_line(error)}); "
                "remove it and run the same line again: only its rows are redone"
            ) from error


def parquet(rows: pa.Table) -> bytes:
    """Rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    return buffer.getvalue()


def _write_aside(path: str, data: bytes) -> None:
    """Write beside `path`, flush to the disk, rename: readers see all of it or nothing."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Readers of a folder of shards pass over names that begin with a dot.
    aside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{uuid.uuid4().hex}.part")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise
