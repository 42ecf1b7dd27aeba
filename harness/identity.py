"""What makes two numbers the same number: digests of bytes, of files, of cases, and the names and seeds made of them.

All digests are SHA-256, in hex.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.nouns import Case, Run

# Below this size hashing costs less than looking a digest up.
CACHED_FROM_BYTES = 8 << 20


def digest_bytes(data: bytes) -> str:
    """SHA-256 of `data`, in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes; remembered for large files by path, size, inode and times."""
    stat = path.stat()
    if stat.st_size < CACHED_FROM_BYTES:
        return _hash(path)
    stamp = f"{path.resolve()}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"
    memory = _cache_folder() / digest_bytes(stamp.encode())
    if memory.exists():
        return memory.read_text()
    digest = _hash(path)
    with contextlib.suppress(OSError):  # a home that cannot be written to costs time, nothing else
        memory.parent.mkdir(parents=True, exist_ok=True)
        aside = memory.with_suffix(f".{os.getpid()}")
        aside.write_text(digest)
        aside.replace(memory)
    return digest


def digest_tree(path: Path) -> str:
    """Digest of a file, or of a folder: of the sorted names and digests of all its files that are not hidden."""
    if path.is_file():
        return digest_file(path)
    lines = [f"{file.relative_to(path).as_posix()} {digest_file(file)}\n" for file in _visible_files(path)]
    return digest_bytes("".join(lines).encode())


def digest_cases(cases: Sequence[Case]) -> str:
    """Digest of all that the cases say: ids, order, texts, tags, and the digests (not the places) of their media."""
    hashed = hashlib.sha256()
    for case in cases:
        said = dataclasses.asdict(case)
        for turn in said["turns"]:
            for media in (*turn["inputs"], *(one for part in turn["parts"].values() for one in part)):
                del media["uri"]
        hashed.update(json.dumps(said, sort_keys=True).encode() + b"\n")
    return hashed.hexdigest()


def run_id(run: Run) -> str:
    """The name of a run's folder: suite, system, and 12 hex digits of the digest of everything that identifies it."""
    said = json.dumps(dataclasses.asdict(run), sort_keys=True)
    return f"{run.suite}-{run.system}-{digest_bytes(said.encode())[:12]}"


def sample_seed(seed: int, case: str, sample: int) -> int:
    """The seed of one sample, in [0, 2**63): a function of the run's seed, the case and the sample alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{case}|{sample}".encode()).digest()[:8], "big") >> 1


def _visible_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_folder() -> Path:
    home = (
        os.environ.get("ANYBENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "anybench"
    )
    return Path(home) / "digests"
