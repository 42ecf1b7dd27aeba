"""The store: a folder, or an fsspec URL, that all workers can reach.

    store.id                                the store's mark, by which workers know that it is the same one
    inputs/<digest>.<suffix>                the media of suites, shared by every run
    features/<extractor>-v<version>-<weights>-<code>/   features of those media, shared by every run
    runs/<run id>/run.json                  what the run is: identity, settings, provenance
    runs/<run id>/cases.jsonl               its cases
    runs/<run id>/generations/              one row for each turn of each sample
    runs/<run id>/media/<digest>.<suffix>   what was generated
    runs/<run id>/features/<extractor>-v<version>-<weights>-<code>/
    runs/<run id>/scores/<metric>.parquet
    runs/<run id>/summary.json, status.json, table.md, table.csv
    runs/<run id>/lock                      held by the process that works on the run (harness.lease for a URL)

A table is a folder of Parquet shards, `<digest>.parquet` by the SHA-256 of their bytes, so that one that was cut short,
flipped or edited is refused and never read as other numbers; scores are sealed instead (harness.sealing). A file exists
whole or not at all: it is written aside and renamed on a local disk, and is one PUT elsewhere. Rows carry their own
keys, so a row that is written twice counts once. Nothing is sent to a worker but the store's URL, and a read asks the
store anew: nothing is cached.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from harness import media, remote
from harness.errors import StoreError, one_line
from harness.identity import digest_bytes
from harness.lease import Lease
from harness.nouns import Media
from harness.sealing import parquet, seal_holds

__all__ = ["Store", "StoreError", "Table"]

MARK = "store.id"

# How often the shards are looked at anew because one was joined with others while they were read.
LOOKS = 3

# Requests under way at once, where a store is across a network.
REQUESTS = 16

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Store:
    """A place for files, by paths relative to `url`; every method raises StoreError for what cannot be done."""

    url: str

    @classmethod
    def at(cls, url: str) -> Store:
        """The store at a folder or URL; a folder is made absolute, so that every worker means the same one."""
        path = url.removeprefix("file://")
        if "?" in path or "::" in path:
            raise StoreError(f"--store {url}: a store's name cannot hold ? or ::, which mean something in URLs")
        if path.endswith("://"):
            raise StoreError(f"--store {url}: no bucket is named; s3://bucket/runs would do")
        return cls(path if "://" in path else os.path.abspath(path))

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        """Workers are sent the URL alone: they open it with their own machine's settings."""
        return Store, (self.url,)

    @cached_property
    def _filesystem(self) -> Any:
        try:
            return remote.filesystem(self.url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"--store {self.url}: {one_line(error)}") from error

    @cached_property
    def _leases(self) -> list[Lease]:
        return []

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine (or one mounted on it)."""
        return "://" not in self.url

    def path(self, name: str) -> str:
        """The full path or URL of a file of the store; an absolute one is kept as it is."""
        return name if os.path.isabs(name) or "://" in name else f"{self.url.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        with self._naming(name, "read"):
            return bool(self._filesystem.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """The bytes of a file; StoreError when it is not there."""
        with self._naming(name, "read"):
            return bytes(self._filesystem.cat_file(self.path(name)))

    def find(self, name: str) -> bytes | None:
        """The bytes of a file; None when it is not there."""
        with self._naming(name, "read"):
            try:
                return bytes(self._filesystem.cat_file(self.path(name)))
            except FileNotFoundError as error:
                if remote.bucket_is_absent(error):
                    raise
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, durably; StoreError (a full disk, no permission) leaves nothing behind."""
        for lease in self._leases:
            lease.check()
        with self._naming(name, "written", "; nothing already stored is lost: mend it and run the same line again"):
            if self.is_local:
                _write_aside(self.path(name), data)
            else:
                self._filesystem.pipe_file(self.path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file where there is none; False when there is one. Of several that try at once one succeeds.

        (On backends that cannot tell, the last one.)
        """
        with self._naming(name, "written"):
            try:
                if self.is_local:
                    _link_aside(self.path(name), data)
                else:
                    self._filesystem.pipe_file(self.path(name), data, mode="create")
            except OSError as error:
                if remote.exists_already(error):
                    return False
                if not remote.cannot_tell(error):
                    raise
                self.write(name, data)
        return True

    def names(self, folder: str) -> list[str]:
        """The names, relative to the store, of the entries of a folder, sorted; none when it is not there."""
        with self._naming(folder, "listed"):
            try:
                entries = self._filesystem.ls(self.path(folder), detail=False)
            except FileNotFoundError as error:
                if remote.bucket_is_absent(error):
                    raise
                return []
        # Some tools keep a "folder" of a bucket as an empty file, which is listed as an entry of its own.
        own = str(self._filesystem._strip_protocol(self.path(folder))).rstrip("/")
        paths = [str(entry).rstrip("/") for entry in entries]
        return sorted(f"{folder}/{os.path.basename(path)}" for path in paths if path != own)

    def remove(self, name: str) -> None:
        """Remove a file; one that is already gone is no error."""
        with self._naming(name, "removed"), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it; one that is already gone is no error."""
        with self._naming(name, "removed"), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(self.path(name), recursive=True)

    def each(self, do: Callable[[str], Answer], names: Sequence[str]) -> list[Answer]:
        """What `do` gives for every name, in order; several at once where each is a request over a network."""
        if self.is_local:
            return [do(name) for name in names]
        with ThreadPoolExecutor(REQUESTS) as threads:
            return list(threads.map(do, names))

    def put_media(self, folder: str, data: bytes) -> Media:
        """Keep encoded media under its digest, once; raises harness.media.MediaError for bytes of no known format."""
        modality, suffix = media.sniff(data)
        digest = digest_bytes(data)
        name = f"{folder}/{digest}{suffix}"
        # Across a network, to write it again costs less than to look first: most of them are new.
        if not (self.is_local and self.exists(name) and digest_bytes(self.read(name)) == digest):
            self.write(name, data)
        return Media(modality, uri=name, digest=digest)

    def read_media(self, one: Media) -> bytes:
        """The bytes of a kept medium; harness.media.MediaError where they are not those of its digest."""
        data = self.read(one.uri)
        with media.naming(self.path(one.uri)):
            media.require_digest(data, one.digest)
        return data

    def mark(self) -> str:
        """The store's own mark, made when it is first used, by one process of those that try."""
        if (there := self.find(MARK)) is not None:
            return there.decode(errors="replace")
        self.create(MARK, uuid.uuid4().hex.encode())
        return self.read(MARK).decode(errors="replace")

    def require(self, mark: str) -> None:
        """Make sure that this machine sees the store that the driver sees, and not one of the same name."""
        if mark and (self.find(MARK) or b"").decode(errors="replace") != mark:
            where = "on a disk that all nodes share, or a URL such as s3://bucket/runs"
            mend = f"give a folder {where}" if self.is_local else "give every node the same endpoint and credentials"
            raise StoreError(f"{self.url}: node {platform.node()} does not see the driver's store there; {mend}")

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        """Hold a folder against other processes; StoreError when another holds it.

        On a local disk the kernel lets go when the process dies, so a killed run leaves nothing to clean up; elsewhere
        the next one waits until the dead one's lease is old (harness.lease). A process that has lost its lease is told
        so when it next writes.
        """
        with self._locked(f"{folder}/lock") if self.is_local else self._leased(f"{folder}/lock"):
            yield

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._naming(name, "written"):
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            handle = open(self.path(name), "w")  # noqa: SIM115  (held for as long as the lock is)
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.path(name)}: another process is working on this run; wait for it, or end it first"
                ) from error
            yield

    @contextlib.contextmanager
    def _leased(self, name: str) -> Iterator[None]:
        lease = Lease(self, name)
        lease.take()
        self._leases.append(lease)
        try:
            yield
        finally:
            self._leases.remove(lease)
            lease.release()

    @contextlib.contextmanager
    def _naming(self, name: str, done: str, mend: str = "") -> Iterator[None]:
        """Puts the file's name before what is wrong; each backend of a URL has exceptions of its own."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            if self.is_local and not isinstance(error, OSError):
                raise
            raise StoreError(f"{self.path(name)}: cannot be {done}: {remote.reason(error)}{mend}") from error


@dataclass(frozen=True)
class Table:
    """Rows of one schema in a folder of shards."""

    store: Store
    folder: str
    schema: pa.Schema

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows as one new shard."""
        if rows:
            self._write(pa.Table.from_pylist(list(rows), self.schema))

    def read(self) -> list[dict[str, Any]]:
        """All rows, shard by shard; StoreError names a damaged shard, which may be removed to redo its rows."""
        rows: list[dict[str, Any]] = self.rows().to_pylist()
        return rows

    def rows(self) -> pa.Table:
        """What `read` reads, as Arrow's columns."""
        return self.columns(*self.schema.names)

    def columns(self, *names: str) -> pa.Table:
        """Some columns of all rows, of one look at the shards: others may be adding to them, or joining them."""
        for _ in range(LOOKS):
            shards = self.shards()
            try:
                return self._joined(shards, names)
            except StoreError:
                if set(shards) <= set(self.shards()):
                    raise
        return self._joined(self.shards(), names)

    def shards(self) -> list[str]:
        """The names, relative to the store, of the shards, sorted."""
        return [name for name in self.store.names(self.folder) if name.endswith(".parquet")]

    def read_shard(self, name: str) -> pa.Table:
        """The rows of one shard, for those who can do without a damaged one; StoreError names it."""
        return self._read(name, self.schema)

    def compact(self, tidy: Callable[[pa.Table], pa.Table] = lambda table: table) -> None:
        """Make one shard of several; `tidy` may drop rows that others supersede.

        A reader in between, or after a crash, meets some rows twice, never one too few: where a shard that it saw is
        gone, it looks again.
        """
        shards = self.shards()
        if len(shards) > 1:
            whole = self._write(tidy(self._joined(shards, self.schema.names)))
            self.store.each(self.store.remove, [shard for shard in shards if shard != whole])

    def _write(self, rows: pa.Table) -> str:
        data = parquet(rows)
        name = f"{self.folder}/{digest_bytes(data)}.parquet"
        self.store.write(name, data)
        return name

    def _joined(self, shards: Sequence[str], names: Iterable[str]) -> pa.Table:
        schema = pa.schema([self.schema.field(name) for name in names])
        tables = self.store.each(lambda shard: self._read(shard, schema), shards)
        return pa.concat_tables([schema.empty_table(), *tables])

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        data = self.store.read(name)
        try:
            if _digest_in(name) not in ("", digest_bytes(data)):
                raise ValueError("its bytes are not those that its name is the digest of")
            if not seal_holds(data):
                raise ValueError("its bytes are not those that were sealed")
            file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
            self._check_columns(name, file.schema_arrow.names)
            return file.read(schema.names).select(schema.names).cast(schema)
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise StoreError(
                f"{self.store.path(name)}: a damaged shard ({one_line(error)}); "
                "remove it and run the same line again: only its rows are redone"
            ) from error

    def _check_columns(self, name: str, there: Sequence[str]) -> None:
        """StoreError for a file that is no shard of this table, or one of a newer anybench."""
        lacking = [one.name for one in self.schema if one.name not in there]
        unknown = [column for column in there if column not in self.schema.names]
        if lacking or unknown:
            wrong = f"lacks column {lacking[0]}" if lacking else f"has column {unknown[0]}, which is unknown here"
            raise StoreError(
                f"{self.store.path(name)}: {wrong}: use the anybench that wrote it, or move the file away if none did"
            )


def _digest_in(name: str) -> str:
    """The digest that a shard is named by; "" for other names, which older versions gave, or people."""
    stem = PurePosixPath(name).stem
    return stem if len(stem) == 64 else ""


def _link_aside(path: str, data: bytes) -> None:
    """Write beside `path` and link it there; FileExistsError when it is there."""
    aside = f"{path}.{uuid.uuid4().hex}"
    _write_aside(aside, data)
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        _write_aside(path, data)
    finally:
        os.unlink(aside)


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
