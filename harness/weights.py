"""Checkpoints by local path or by hub id: where they are on this machine, and their digest."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import AbsentError, UsageError, one_line
from harness.identity import digest_file
from harness.nouns import ExtractorCard

# Other frameworks' copies of the same weights, and half-precision variants, are not downloaded.
NOT_DOWNLOADED = ("*.msgpack", "*.h5", "*.ot", "*.ckpt", "*.onnx", "*.onnx_data", "*.tflite", "*.fp16.*", "openvino*")

# A revision with two dots is none in git, and would leave the hub's cache.
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(@(?!.*\.\.)[\w./-]+)?")
HUB_SECONDS = 10.0

# In the order in which a folder is searched; a path with one of these endings is no hub id.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


# A source that begins so lies in the software itself: each machine looks for it in its own copy.
SHIPPED = "anybench:"
SOFTWARE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that were found: where they come from ("" for an extractor without), digest, and whether it is known."""

    source: str
    digest: str
    known: bool


NO_WEIGHTS = Weights(source="", digest="", known=True)


def local_path(source: str) -> str:
    """The absolute path of something that must be on this machine; UsageError when it is not there."""
    path = _path(source)
    if path is None:
        raise UsageError(f"{source}: no such file or folder")
    return str(path)


def checkpoint_path(source: str, offline: bool = False) -> str:
    """The local path of a checkpoint given as a path or as a hub id `org/name@revision`, downloaded when it must be.

    Raises UsageError for a path that is not there, AbsentError for a hub id that cannot be had.
    """
    path = _path(source)
    if path is not None:
        return str(path)
    if not HUB_ID.fullmatch(source) or source.startswith(("./", "../")) or source.endswith(WEIGHT_SUFFIXES):
        raise UsageError(f"checkpoint {source}: no such file or folder, nor a hub id (org/name or org/name@revision)")
    try:
        return _from_hub(source, offline)
    except AbsentError as error:
        raise AbsentError(f"{error}; nor is there a file or folder of that name here") from error


def ask_nobody() -> None:
    """`--offline` for the rest of this process, as the field's own variable says it.

    For what finds further weights by itself, such as a checkpoint that stands on models of the hub.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"


def agreed_path(source: str, digest: str, digest_of: Callable[[Path], str], offline: bool) -> str:
    """The path of a checkpoint on this machine, which must hold the bytes that the driver saw; "" stays "".

    Raises UsageError that names this machine when its copy is another one, or when it has none.
    """
    if not source:
        return ""
    try:
        path = checkpoint_path(source, offline)
    except UsageError as error:
        raise UsageError(f"{error} (on node {platform.node()})") from error
    if digest_of(Path(path)) != digest:
        raise UsageError(f"checkpoint {source} on node {platform.node()} is not the one the driver has; copy it anew")
    return path


def extractor_weights(name: str, card: ExtractorCard, given: str = "", offline: bool = False) -> Weights:
    """The weights of an extractor: given by `--weights NAME=PATH`, else those that are shipped, or its hub id names.

    Raises AbsentError, which names the extractor and the mend, when they are not to be had.
    """
    if card.weightless:
        return NO_WEIGHTS
    if card.shipped and not given:
        return _shipped(name, card)
    if not given and not card.hub:
        where = "docs/weights.md says where they are" if card.digests else f"make some with `anybench init {name} DIR`"
        raise AbsentError(f"weights of {name}: none given: {where}, pass --weights {name}=PATH")
    try:
        path = _extractor_path(card, given, offline)
    except AbsentError as error:
        raise AbsentError(f"weights of {name}: {error}; or pass --weights {name}=PATH") from error
    digest = weights_digest(Path(path))
    source = path if given and _path(given) else given or card.hub
    return Weights(source, digest, known=digest in card.digests)


def weights_file(path: Path) -> Path:
    """The file that holds the tensors of an extractor's checkpoint: itself, or the one of a folder that is read.

    Raises AbsentError where a folder (a download that was cut short, say) has none.
    """
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise AbsentError(f"weights {path}: the folder has neither {' nor '.join(WEIGHT_FILES)}")


def weights_digest(path: Path) -> str:
    """SHA-256 of the file that holds the tensors, as `sha256sum` prints it, however the checkpoint is packed.

    What else a folder holds does not count: the architecture is the extractor's own, and a config must agree with it.
    """
    return digest_file(weights_file(path))


def _shipped(name: str, card: ExtractorCard) -> Weights:
    source = SHIPPED + card.shipped
    path = _path(source)
    if path is None:
        raise AbsentError(
            f"weights of {name}: {SOFTWARE / card.shipped} is not there; install the software anew, whole, or pass "
            f"--weights {name}=PATH"
        )
    digest = weights_digest(path)
    return Weights(source, digest, known=digest in card.digests)


def _extractor_path(card: ExtractorCard, given: str, offline: bool) -> str:
    if not card.hub:
        return local_path(given)
    return checkpoint_path(given, offline) if given else _from_hub(card.hub, offline)


def _path(source: str) -> Path | None:
    """What a path means on this machine, links followed; None where nothing is there that could be a checkpoint."""
    try:
        shipped = source.startswith(SHIPPED)
        path = SOFTWARE / source.removeprefix(SHIPPED) if shipped else Path(source).expanduser()
        there = path.is_file() or path.is_dir()
    except (OSError, RuntimeError):  # too long for a path; the home of nobody
        return None
    return path.resolve() if there else None


def _from_hub(source: str, offline: bool) -> str:
    """A snapshot of a hub repository at the newest commit of the revision; the cached one where the hub is not reached.

    The hub is asked once and briefly first: its own download tries for 23 seconds to reach a host that is not there.
    """
    from huggingface_hub import snapshot_download

    offline = offline or _is_offline()
    name, _, revision = source.partition("@")
    try:
        commit = None if offline else _newest_commit(name, revision or None)
        return str(
            snapshot_download(
                name,
                revision=commit or revision or None,
                local_files_only=commit is None,
                ignore_patterns=list(NOT_DOWNLOADED),
            )
        )
    except ValueError as error:  # HFValidationError: no repository can be called this
        raise UsageError(f"checkpoint {source}: no such file or folder, nor a hub id: {one_line(error)}") from error
    except OSError as error:
        why = "and this run is offline" if offline else f"and cannot be downloaded ({one_line(error)[:100]})"
        raise AbsentError(f"{source} is not in the hub cache {_hub_cache()}, {why}") from error


def _newest_commit(name: str, revision: str | None) -> str | None:
    """The commit that a revision means today, or None where the hub is not reached."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS).sha
    except HfHubHTTPError as error:
        raise AbsentError(f"{name}: the hub says: {one_line(error)}") from error
    except (httpx2.HTTPError, OSError):
        return None


def _is_offline() -> bool:
    """What the hub's library reads once, when it is imported."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _hub_cache() -> str:
    return os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or "~/.cache/huggingface"
