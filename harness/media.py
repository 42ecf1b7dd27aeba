"""The one door for images, sound and video, both ways: Pillow, soundfile + soxr, PyAV. Text needs no door.

Conventions. Images are RGB, 8 bit, as seen: turned as EXIF says, transparency laid on white, first frame or picture of
several. Sound is mono float32 of shape (samples,), full scale at -1 and 1: the mean of the channels, resampled once at
most (soxr HQ), never normalised or dithered. Video is RGB uint8 of shape (frames, height, width, 3).
Colour profiles are not applied: the published preprocessing (CLIP, DINO, torchvision's loader) does not either.

Every file is read within `Limits`, checked against the digest that its `Media` carries, known by its first bytes (never
by its name), and refused when it is cut short or damaged: one MediaError, one line, the file's name first.
"""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from PIL import Image

from harness._files import LIMITS, Limits, MediaError, complete, fetch, naming, read, require_digest, sniff, within
from harness._image import decode_image, rgb
from harness._sound import checked, decode_sound, sounding
from harness._video import CONTAINERS, Video, aac_ready, check_frames, decode_frames, decode_track, mux
from harness.nouns import Media

__all__ = [
    "LIMITS",
    "Limits",
    "MediaError",
    "Video",
    "decode",
    "decode_audio",
    "encode_audio",
    "encode_image",
    "encode_thumbnail",
    "encode_video",
    "naming",
    "read_audio",
    "read_bytes",
    "read_image",
    "read_video",
    "require_digest",
    "sniff",
]


def read_bytes(uri: str, limits: Limits = LIMITS) -> bytes:
    """The bytes of a local path or fsspec URL; MediaError where it is absent, empty, unreadable or too large."""
    with naming(uri):
        return read(uri, limits)


def decode(data: bytes, name: str, limits: Limits = LIMITS) -> Image.Image | NDArray[np.float32] | Video:
    """What encoded bytes hold, as the readers below give it, sound at its own rate; `name` begins the MediaError."""
    with naming(name, Exception):
        modality, suffix = sniff(complete(data))
        if modality == "image":
            return rgb(decode_image(data, limits))
        if modality == "audio":
            return sounding(_sound(data, suffix, limits)[0])
        return _video(data, suffix, limits)


def read_image(media: Media, limits: Limits = LIMITS) -> Image.Image:
    """The picture as it is seen, mode RGB, carrying no metadata.

    Palette, greyscale and CMYK are converted as Pillow does. 16-bit greyscale becomes round(value / 257); of 16-bit
    colour, Pillow keeps the high byte, which is within one level of that. Floating point and 32-bit pixels state no
    range and are refused. EXIF that cannot be read counts as none, as in every viewer.
    """
    # Pillow's plugins raise nearly anything on damaged input.
    with naming(media.uri, Exception):
        data, _ = fetch(media, ("image",), limits)
        return rgb(decode_image(data, limits))


def encode_image(image: Image.Image) -> bytes:
    """PNG of the picture as it is seen (as `read_image` converts); the bytes depend on the pixels alone."""
    buffer = io.BytesIO()
    with naming("image to be encoded"):
        rgb(image).save(buffer, "PNG")
    return buffer.getvalue()


def encode_thumbnail(image: Image.Image, edge: int) -> bytes:
    """WebP of the picture reduced to at most `edge` pixels a side: lossy, for people to look at, never to be scored."""
    small = image.copy()
    small.thumbnail((edge, edge))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=70, method=2)
    return buffer.getvalue()


def read_audio(media: Media, rate: int, limits: Limits = LIMITS) -> NDArray[np.float32]:
    """Mono sound of shape (samples,) at `rate` Hz, of a sound file or of a video's first sound track.

    A mono file that already has this rate comes back bit-exact (integers over 2^(bits - 1)). A resampled sound, or a
    file of floats, may pass full scale: it is not clipped. Empty, NaN and infinite sound is refused.
    """
    with naming(media.uri, soundfile.SoundFileError, av.FFmpegError):
        return _at_rate(*fetch(media, ("audio", "video"), limits), rate, limits)


def decode_audio(data: bytes, name: str, rate: int, limits: Limits = LIMITS) -> NDArray[np.float32]:
    """The sound that encoded bytes hold, as `read_audio` gives it; `name` begins the MediaError."""
    with naming(name, Exception):
        return _at_rate(data, sniff(complete(data))[1], rate, limits)


def resampled(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Sound (samples,) at another rate, by the one resampler: soxr's HQ."""
    sound: NDArray[np.float32] = soxr.resample(samples, rate, new_rate, quality="HQ")
    return sound


def encode_audio(samples: NDArray[Any], rate: int) -> bytes:
    """FLAC, 16 bit, of mono floating point samples (samples,); what came from 16 bit goes back bit-exact.

    Rounds to nearest. Beyond full scale is clipped, as AUDIT does with its mixes and libsndfile when it writes 16
    bit (vocoders overshoot a little); a peak over 8 is another scale, not an overshoot, and is a MediaError, as are
    NaN, infinities, no samples, integers, and a rate that FLAC cannot hold.
    """
    buffer = io.BytesIO()
    with naming("sound to be encoded"):
        scaled = np.rint(checked(samples).astype(np.float64) * 32768)
        integers = np.clip(scaled, -32768, 32767).astype(np.int16)
        try:
            soundfile.write(buffer, integers, rate, format="FLAC", subtype="PCM_16")
        except soundfile.SoundFileError as error:
            raise MediaError(f"FLAC cannot hold {rate} Hz; 16000 or 48000 would do") from error
    return buffer.getvalue()


def read_video(media: Media, limits: Limits = LIMITS) -> Video:
    """Every frame of the first video track, turned as the file says, and its sound at its own rate.

    Frames are as stored: none is dropped or repeated where their times are uneven, and the rate is their average.
    Sound and pictures are taken to begin together. The file's colour matrix is applied, BT.601 where it names none.
    """
    with naming(media.uri, av.FFmpegError, ValueError):
        return _video(*fetch(media, ("video",), limits), limits)


def encode_video(video: Video) -> bytes:
    """MP4: H.264 in yuv420p (constant rate factor 17, one thread, so that equal frames give equal bytes), AAC sound.

    Both are lossy: score what was read back, not what was encoded. MediaError for frames of odd width or height
    (4:2:0 cannot hold them), no frames, a frame rate outside 0.01 to 1000, and sound that AAC or
    `encode_audio` refuses.
    """
    buffer = io.BytesIO()
    with naming("video to be encoded"):
        check_frames(video)
        sound = None if video.sound is None else aac_ready(video.sound, video.rate)
        # Lengths are stored in this unit; the default of a millisecond would not hold the number of samples.
        options = {"movie_timescale": str(video.rate)} if sound is not None else {}
        with av.open(buffer, "w", format="mp4", options=options) as container:
            mux(container, video, sound)
    return buffer.getvalue()


def _at_rate(data: bytes, suffix: str, rate: int, limits: Limits) -> NDArray[np.float32]:
    samples, own = _sound(data, suffix, limits)
    within(len(samples) / own * rate, limits.samples, f"samples at {rate} Hz")
    return sounding(samples if own == rate else resampled(samples, own, rate))


def _sound(data: bytes, suffix: str, limits: Limits) -> tuple[NDArray[np.float32], int]:
    track = decode_track(data, suffix, limits) if suffix in CONTAINERS else decode_sound(data, limits)
    if track is None:
        raise MediaError("has no sound track")
    return track


def _video(data: bytes, suffix: str, limits: Limits) -> Video:
    frames, frames_per_second = decode_frames(data, suffix, limits)
    track = decode_track(data, suffix, limits)
    return Video(frames, frames_per_second, *track) if track else Video(frames, frames_per_second)
