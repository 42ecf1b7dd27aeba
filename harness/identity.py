"""What makes two numbers the same number: digests of bytes, of files, of cases, and the names and seeds made of them.

All digests are SHA-256, in hex.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.nouns import Case, Media, Run, Turn

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
    memory = cache_folder() / "digests" / digest_bytes(stamp.encode())
    if memory.exists():
        return memory.read_text()
    digest = _hash(path)
    with contextlib.suppress(OSError):  # a home that cannot be written to costs time, nothing else
        memory.parent.mkdir(parents=True, exist_ok=True)
        aside = memory.with_suffix(f".{os.getpid()}")
        aside.write_text(digest)
        aside.replace(memory)
    return digest


def cache_folder() -> Path:
    """Where what can be made again is kept for this user: ANYBENCH_CACHE, else `anybench` among the user's caches."""
    caches = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(os.environ.get("ANYBENCH_CACHE") or Path(caches) / "anybench")


def digest_tree(path: Path) -> str:
    """Digest of a file, or of a folder: of the sorted names and digests of all its files that are not hidden."""
    if path.is_file():
        return digest_file(path)
    lines = [f"{file.relative_to(path).as_posix()} {digest_file(file)}\n" for file in _visible_files(path)]
    return digest_bytes("".join(lines).encode())


def digest_code(target: str) -> str:
    """Digest of the source that "module:attribute" names, and of what that imports of its own top-level package.

    Nothing is imported but the packages that hold the modules. The top-level package's own `__init__` does not count: a
    new line in a table of names is not a new answer.
    """
    module = target.partition(":")[0]
    sources: dict[str, bytes] = {}
    _collect_sources(module, f"{module.partition('.')[0]}.", sources)
    lines = [f"{name} {digest_bytes(source)}\n" for name, source in sorted(sources.items())]
    return digest_bytes("".join(lines).encode())


def digest_cases(cases: Sequence[Case]) -> str:
    """Digest of all that the cases say: ids, order, texts, tags, and the digests (not the places) of their media."""
    hashed = hashlib.sha256()
    for case in cases:
        hashed.update(json.dumps(case_to_data(case, places=False), sort_keys=True).encode() + b"\n")
    return hashed.hexdigest()


def case_to_data(case: Case, places: bool = True) -> dict[str, Any]:
    """A case as plain data, fit for JSON; without the `places` (uris) of its media where only what it says counts."""
    return {"id": case.id, "turns": [_turn_to_data(turn, places) for turn in case.turns], "tags": dict(case.tags)}


def run_id(run: Run) -> str:
    """The name of a run's folder: suite, system, and 12 hex digits of the digest of everything that identifies it."""
    said = json.dumps(dataclasses.asdict(run), sort_keys=True)
    return f"{run.suite}-{run.system}-{digest_bytes(said.encode())[:12]}"


def sample_seed(seed: int, case: str, sample: int) -> int:
    """The seed of one sample, in [0, 2**63): a function of the run's seed, the case and the sample alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{case}|{sample}".encode()).digest()[:8], "big") >> 1


def _turn_to_data(turn: Turn, places: bool) -> dict[str, Any]:
    return {
        "inputs": [_media_to_data(one, places) for one in turn.inputs],
        "wants": list(turn.wants),
        "parts": {role: [_media_to_data(one, places) for one in part] for role, part in turn.parts.items()},
    }


def _media_to_data(media: Media, places: bool) -> dict[str, str]:
    said = {"modality": media.modality, "text": media.text, "digest": media.digest}
    return {**said, "uri": media.uri} if places else said


def _collect_sources(module: str, package: str, sources: dict[str, bytes]) -> None:
    """Add the source of a module, and of all modules of the package that it imports, to `sources`."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or module in sources:
        return
    sources[module] = Path(spec.origin).read_bytes()
    if (above := module.rpartition(".")[0]).startswith(package):  # its __init__ runs too
        _collect_sources(above, package, sources)
    parent = module if spec.submodule_search_locations else module.rpartition(".")[0]
    for name in _imported(sources[module], parent, package):
        _collect_sources(name, package, sources)


def _imported(source: bytes, parent: str, package: str) -> Iterator[str]:
    """The modules of the package that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(package))
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(relative, parent) if node.level else relative
            inside = f"{base}.".startswith(package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names if inside and _is_package(base))]
            yield from (name for name in names if name.startswith(package))


def _is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


def _visible_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
