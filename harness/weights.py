"""Checkpoints by local path or by hub id: where they are on this machine, and their digest."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import AbsentError, UsageError
from harness.identity import digest_file, digest_tree
from harness.nouns import ExtractorCard

# Other frameworks' copies of the same weights, and half-precision variants, are not downloaded.
NOT_DOWNLOADED = ("*.msgpack", "*.h5", "*.ot", "*.ckpt", "*.onnx", "*.onnx_data", "*.tflite", "*.fp16.*", "openvino*")

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that were found: where they come from ("" for an extractor without), digest, and whether it is known."""

    source: str
    digest: str
    known: bool


NO_WEIGHTS = Weights(source="", digest="", known=True)


def checkpoint_path(source: str, offline: bool = False) -> str:
    """The local path of a checkpoint given as a path or as a hub id `org/name@revision`, downloaded when it must be.

    Raises UsageError for a path that is not there, AbsentError for a hub id that cannot be had.
    """
    path = Path(source).expanduser()
    if path.exists():
        return str(path.resolve())
    if not HUB_ID.fullmatch(source) or source.startswith(("./", "../")):
        raise UsageError(f"checkpoint {source}: no such file or folder, nor a hub id (org/name or org/name@revision)")
    return _from_hub(source, offline)


def agreed_path(source: str, digest: str) -> str:
    """The path of a checkpoint on this machine, which must hold the bytes that the driver saw; "" stays "".

    Raises UsageError that names this machine when its copy is another one, or when it has none.
    """
    if not source:
        return ""
    try:
        path = checkpoint_path(source)
    except UsageError as error:
        raise UsageError(f"{error} (on node {platform.node()})") from error
    if digest_tree(Path(path)) != digest:
        raise UsageError(f"checkpoint {source} on node {platform.node()} is not the one the driver has; copy it anew")
    return path


def extractor_weights(name: str, card: ExtractorCard, given: str = "", offline: bool = False) -> Weights:
    """The weights of an extractor: those given by `--weights NAME=PATH`, else those its hub id names.

    Raises AbsentError, which names the extractor and the mend, when they are not to be had.
    """
    if card.weightless:
        return NO_WEIGHTS
    if not given and not card.hub:
        raise AbsentError(
            f"weights of {name}: none given: make some with `anybench init {name} DIR`, pass --weights {name}=DIR"
        )
    try:
        path = checkpoint_path(given or card.hub, offline)
    except AbsentError as error:
        raise AbsentError(f"weights of {name}: {error}; or pass --weights {name}=PATH") from error
    digests = {digest_file(file) for file in _weight_files(Path(path))}
    source = path if given and Path(given).expanduser().exists() else given or card.hub
    return Weights(source, digest_tree(Path(path)), known=bool(digests) and digests <= set(card.digests))


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in sorted(path.iterdir()) if file.suffix in (".safetensors", ".bin", ".pt", ".pth")]


def _from_hub(source: str, offline: bool) -> str:
    """A snapshot of a hub repository: the one in the hub's cache, else downloaded."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = source.partition("@")
    try:
        return str(snapshot_download(name, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError as error:
        if offline or constants.HF_HUB_OFFLINE:
            raise AbsentError(f"{source} is not in the hub cache {_hub_cache()}, and this run is offline") from error
    try:
        return str(snapshot_download(name, revision=revision or None, ignore_patterns=list(NOT_DOWNLOADED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AbsentError(f"{source} is not in the hub cache and cannot be downloaded ({reason})") from error


def _hub_cache() -> str:
    return os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME") or "~/.cache/huggingface"
