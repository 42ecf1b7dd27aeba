"""Video with PyAV: the frames and the sound track of a container, and H.264 with AAC in MP4."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from harness._files import Limits, MediaError, within
from harness._sound import checked, mono, sounding

# FFmpeg is told the container: its guess would also open playlists, and through them other files.
CONTAINERS = {".mp4": "mov", ".mov": "mov", ".m4a": "mov", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
# ISO/IEC 14496-3, table 1.18: the rates that AAC can hold.
AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# "Consider 17 or 18 to be visually lossless or nearly so" (FFmpeg's H.264 encoding guide).
CONSTANT_RATE_FACTOR = "17"


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Frames (frames, height, width, 3) uint8 RGB, and the sound of the file's first sound track.

    `sound` is mono float32 of shape (samples,) at `rate` Hz, the file's own; None and 0 where there is none.
    """

    frames: NDArray[np.uint8]
    frames_per_second: float
    sound: NDArray[np.float32] | None = None
    rate: int = 0


@contextmanager
def _open(data: bytes, suffix: str, limits: Limits) -> Iterator[Any]:
    with av.open(io.BytesIO(data), "r", format=CONTAINERS[suffix], metadata_errors="replace") as container:
        within((container.duration or 0) / av.time_base, limits.seconds, "seconds")
        yield container


def _first(tracks: Any) -> Any:
    """The first of the tracks, None where there are none."""
    if tracks and tracks[0].codec_context is None:
        raise MediaError("a track in a coding that is not read here; H.264 and AAC would do")
    return tracks[0] if tracks else None


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    # Without this FFmpeg paints over what it cannot decode.
    stream.codec_context.options = {"err_detect": "explode"}
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise MediaError("truncated or damaged inside")
        yield from packet.decode()


def decode_frames(data: bytes, suffix: str, limits: Limits) -> tuple[NDArray[np.uint8], float]:
    with _open(data, suffix, limits) as container:
        stream = _first(container.streams.video)
        if stream is None:
            raise MediaError("has no video track")
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise MediaError("states no frame rate")
        within(stream.width * stream.height, limits.pixels, "pixels")
        within(stream.frames * stream.width * stream.height, limits.video_pixels, "pixels in all frames")
        frames: list[NDArray[np.uint8]] = []
        for frame in _decode(container, stream):
            within(frame.width * frame.height, limits.pixels, "pixels")
            within((len(frames) + 1) * frame.width * frame.height, limits.video_pixels, "pixels in all frames")
            within(len(frames) / float(rate), limits.seconds, "seconds")
            frames.append(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
        if len({frame.shape for frame in frames}) != 1:
            raise MediaError("its frames change size" if frames else "holds no frames")
        return np.stack(frames), float(rate)


def decode_track(data: bytes, suffix: str, limits: Limits) -> tuple[NDArray[np.float32], int] | None:
    """Mono samples and rate of the first sound track, None where there is none."""
    with _open(data, suffix, limits) as container:
        stream = _first(container.streams.audio)
        if stream is None:
            return None
        planar = av.AudioResampler(format="fltp")
        blocks, rate, length = [np.zeros(0, np.float32)], 0, 0
        for frame in _decode(container, stream):
            for piece in planar.resample(frame):
                blocks.append(mono(piece.to_ndarray()))
                rate, length = piece.sample_rate, length + piece.samples
                within(length / rate, limits.seconds, "seconds")
                within(length, limits.samples, "samples")
        # Coders fill their last block; the track's length says where the sound ends.
        end = round(stream.duration * stream.time_base * rate) if stream.duration else length
        return sounding(np.concatenate(blocks)[:end]), rate


def check_frames(video: Video) -> None:
    frames = video.frames
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise MediaError(f"{frames.dtype} of shape {frames.shape}; uint8 (frames, height, width, 3) would do")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise MediaError(f"{frames.shape[2]}x{frames.shape[1]} frames; yuv420p needs an even width and height")
    if not 0.01 <= video.frames_per_second <= 1000:
        raise MediaError(f"{video.frames_per_second:g} frames a second; 0.01 to 1000 would do")


def aac_ready(sound: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate not in AAC_RATES:
        raise MediaError(f"sound at {rate} Hz; AAC holds {', '.join(map(str, AAC_RATES))}")
    clipped: NDArray[np.float32] = checked(sound).clip(-1, 1).astype(np.float32)
    return clipped


def mux(container: Any, video: Video, sound: NDArray[np.float32] | None) -> None:
    rate = Fraction(video.frames_per_second).limit_denominator(1001)
    pictures = container.add_stream("libx264", rate=rate, options={"crf": CONSTANT_RATE_FACTOR})
    pictures.height, pictures.width = video.frames.shape[1:3]
    pictures.pix_fmt = "yuv420p"
    pictures.codec_context.thread_count = 1
    track = container.add_stream("aac", rate=video.rate, layout="mono") if sound is not None else None
    for frame in video.frames:
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(pictures.encode(None))
    if track is not None and sound is not None:
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = video.rate, 0, Fraction(1, video.rate)
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
