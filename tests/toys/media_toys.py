"""Small pictures, sounds and clips for the tests of the media door, encoded by the libraries that users use."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import soundfile
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image

from harness.media import Video, encode_video

Array = NDArray[Any]
RATE = 16000
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def drawing(height: int = 20, width: int = 30) -> Array:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(form: str) -> bytes:
    return saved(Image.fromarray(drawing()), form)


def tone(samples: int, rate: int = RATE, hertz: float = 440.0) -> Array:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.float32)


def sound(form: str, subtype: str, samples: Array, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def flat_frames(height: int = 32, width: int = 48) -> Array:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 64, 200)]
    return np.stack([np.full((height, width, 3), colour, np.uint8) for colour in colours])


def clip(container: str = "mp4", with_sound: bool = True) -> bytes:
    if container == "mp4":
        return encode_video(Video(flat_frames(), 8.0, tone(12000) if with_sound else None, RATE if with_sound else 0))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream("libx264" if container == "matroska" else "libvpx", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in flat_frames():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()
