"""Files at the media door: read within limits, checked, known by their first bytes, and named in every complaint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

from harness._formats import declared_size, kind_of
from harness.errors import StoreError, UsageError
from harness.nouns import Media, Modality
from harness.remote import options, reason


class MediaError(UsageError):
    """A file that cannot be used, or content that cannot be encoded: which, and what is wrong with it, in one line."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one file may be; checked on what it declares, and again while it is decoded.

    `bytes` of the encoded file; `pixels` of an image or a frame (the default is Pillow's own, a quarter of a GiB of
    RGB); `video_pixels` of all the frames of a video together (3 bytes each); `seconds` of sound or video; `samples` of
    one channel of sound, at its own rate and at the one it is read at (4 bytes each; 600 s at 192 kHz).
    """

    bytes: int = 1 << 29
    pixels: int = 89_478_485
    video_pixels: int = 1 << 30
    seconds: float = 600.0
    samples: int = 115_200_000


LIMITS = Limits()


def sniff(data: bytes) -> tuple[Modality, str]:
    """Modality and file suffix (".png", ".flac", ".mp4", ...) that the first bytes show.

    A GIF is an image; a WebM or MP4 file is a video, with or without pictures in it. MediaError for anything else.
    """
    kind = kind_of(data)
    if kind is None:
        raise MediaError(
            f"{len(data)} bytes starting {data[:12]!r} are no image, sound or video that is read here; "
            "PNG, JPEG, FLAC, WAV or MP4 would do"
        )
    return kind


@contextmanager
def naming(name: str, *damage: type[Exception]) -> Iterator[None]:
    """Puts the name before whatever is wrong; `damage` is what the decoder raises on bad input."""
    try:
        yield
    except StoreError:
        raise
    except MediaError as error:
        raise MediaError(f"{name}: {error}") from error
    except damage as error:
        raise MediaError(f"{name}: damaged, or not what its first bytes say ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    # Decoders quote the buffer's address, which would make two equal errors differ.
    return " ".join(text.partition(" <_io.")[0].split()) or type(error).__name__


def within(value: float, limit: float, unit: str) -> None:
    if value > limit:
        raise MediaError(f"{value:,.10g} {unit}, over the limit of {limit:,.10g} {unit}; give a smaller one")


def read(uri: str, limits: Limits) -> bytes:
    if not uri:
        raise MediaError("a medium without a file: its uri is empty")
    try:
        with _opened(uri) as file:
            data: bytes = file.read(limits.bytes + 1)
    except FileNotFoundError:
        raise MediaError("no such file") from None
    except (OSError, ValueError, ImportError) as error:
        raise MediaError(f"cannot be opened ({_reason(error)})") from error
    if len(data) > limits.bytes:
        raise MediaError(f"over the limit of {limits.bytes:,} bytes; give a smaller one")
    if not data:
        raise MediaError("an empty file")
    return data


def _opened(uri: str) -> Any:
    """A local file, or one of an fsspec URL; never a device or a pipe, which have no end, nor a chain of URLs."""
    if "://" in uri:
        if "::" in uri:
            raise MediaError("cannot be opened (:: would unpack one URL out of another); give the file itself")
        return _far(uri)
    if os.path.exists(uri) and not os.path.isfile(uri):
        raise MediaError("cannot be opened (not a file)")
    return open(uri, "rb")


@contextmanager
def _far(uri: str) -> Iterator[Any]:
    """A file of a URL. StoreError where nothing answers there: no case is to blame for that."""
    try:
        with fsspec.open(uri, "rb", **options(uri)) as file:
            yield file
    except (FileNotFoundError, ValueError, ImportError):
        raise
    except Exception as error:  # each backend has exceptions of its own
        raise StoreError(f"{uri}: cannot be read: {reason(error)}") from error


def fetch(media: Media, modalities: tuple[Modality, ...], limits: Limits) -> tuple[bytes, str]:
    """Whole bytes of one of the modalities, with the digest they should have, and their suffix."""
    data = read(media.uri, limits)
    if media.digest:
        require_digest(data, media.digest)
    modality, suffix = sniff(data)
    if modality not in modalities:
        raise MediaError(f"is {modality} ({suffix}), where {' or '.join(modalities)} is expected")
    return complete(data), suffix


def require_digest(data: bytes, digest: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise MediaError("changed since its digest was taken; restore it, or start a new run")


def complete(data: bytes) -> bytes:
    if declared_size(data) > len(data):
        raise MediaError(f"truncated: {len(data):,} bytes, fewer than the file itself declares")
    return data
