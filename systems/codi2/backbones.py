"""Where a checkpoint's frozen models are, and whether they are the ones that it was trained on.

A run's identity has the digest of the checkpoint's folder: of every file in it that is not hidden, none of a folder
that is only linked there. So a backbone in the folder itself is covered, and any other one (a hub id, an absolute path,
one that leads out by `..` or by a link) must state its own digest in codi2.json, which is covered in its place.

The digest of a file is the SHA-256 of its bytes, as `sha256sum` prints it. That of a folder is the SHA-256 of the lines
"PATH DIGEST\\n", PATH relative to the folder and with slashes, in the order of the paths, for every file that is not
hidden, ends in `READ`, and is none of `harness.weights.NOT_DOWNLOADED`. What else a snapshot of the hub holds, such as
the same weights for other libraries, is not read and does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from harness.errors import AbsentError, UsageError
from harness.identity import digest_bytes, digest_file
from harness.weights import HUB_ID, NOT_DOWNLOADED, checkpoint_path
from systems.codi2.description import FILE, Backbone

READ = (".json", ".safetensors", ".model", ".txt", ".pth")


def find_backbone(folder: Path, name: str, backbone: Backbone) -> Path:
    """The path of the checkpoint's backbone called `name` in codi2.json, its digest verified where one is stated.

    Of a hub id the hub's cache is looked at first; the hub is asked only where the cache lacks the stated bytes.
    Raises UsageError, AbsentError for a hub id that cannot be had; both name codi2.json, the backbone, and the mend.
    """
    try:
        copies = _copies(folder, backbone.source)
        if not backbone.digest:
            return _covered(folder, backbone.source, next(copies))
        others = []
        for path in copies:
            digest = digest_backbone(path)
            if digest == backbone.digest:
                return path
            others.append(f"{path} has {digest}")
        raise UsageError(f"its digest is to be {backbone.digest}, and {others[-1]}; put the right one there")
    except UsageError as error:
        raise type(error)(f"{folder / FILE}: {name}: {error}") from error


def digest_backbone(path: Path) -> str:
    """The digest of a backbone, a file or a folder; UsageError for a folder with a linked one in it."""
    if path.is_file():
        return digest_file(path)
    files = {file.relative_to(path).as_posix(): file for file in _files(path)}
    lines = [f"{name} {digest_file(files[name])}\n" for name in sorted(files) if _is_read(name)]
    return digest_bytes("".join(lines).encode())


def is_inside(folder: Path, source: str) -> bool:
    """Whether the digest of the checkpoint's folder covers what a path in it names."""
    parts = PurePosixPath(source).parts
    if Path(source).is_absolute() or any(part.startswith(".") for part in parts):
        return False
    above = [folder.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    return not any(path.is_symlink() and path.is_dir() for path in above)


def _copies(folder: Path, source: str) -> Iterator[Path]:
    """Where a backbone may be: its path, or its snapshot in the hub's cache, then the hub's own."""
    path = folder / source
    if _is_there(path):
        if path.is_dir():
            list(_files(path))
        yield path
        return
    if not HUB_ID.fullmatch(source) or "@" not in source:
        raise UsageError(f"nothing is at {path}; put it there, or name a hub id with its revision, org/name@revision")
    with suppress(AbsentError):
        yield Path(checkpoint_path(source, offline=True))
    yield Path(checkpoint_path(source))


def _covered(folder: Path, source: str, path: Path) -> Path:
    if path == folder / source and is_inside(folder, source):
        return path
    raise UsageError(
        f"{source} is not in the checkpoint's own folder, so its digest must be stated; "
        f'write "digest": "{digest_backbone(path)}"'
    )


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, but for the hidden ones."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (link := Path(root, name)).is_symlink():
                raise UsageError(f"{link}: a link to a folder, which no digest covers; put the folder itself there")
        for name in names:
            if not name.startswith(".") and (file := Path(root, name)).is_file():
                yield file


def _is_read(name: str) -> bool:
    return name.endswith(READ) and not any(fnmatch(name, pattern) for pattern in NOT_DOWNLOADED)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # too long for a path
        return False
