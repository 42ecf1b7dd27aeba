"""Video at the media door: frames, rate and sound go out and in; what is damaged or too large is refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_toys import RATE, clip, flat_frames, tone

from harness.media import (
    Limits,
    MediaError,
    Video,
    encode_video,
    read_audio,
    read_video,
    sniff,
)
from harness.nouns import Media, Modality

Place = Callable[[Modality, bytes], Media]


def test_an_encoded_video_reads_back_its_frames_rate_and_sound(place: Place) -> None:
    video = Video(flat_frames(), 29.97, tone(3203), RATE)
    back = read_video(place("video", encode_video(video)))
    assert back.frames.shape == video.frames.shape and back.frames.dtype == np.uint8
    assert np.abs(back.frames.astype(int) - video.frames).max() <= 4
    assert back.frames_per_second == 29.97
    assert back.sound is not None and back.sound.shape == (3203,) and back.rate == RATE
    # AAC is lossy and starts cold; a shift by one of its blocks would correlate far less.
    assert np.corrcoef(back.sound[1024:2048], tone(3203)[1024:2048])[0, 1] > 0.99


def test_a_silent_film_has_no_sound(place: Place) -> None:
    back = read_video(place("video", encode_video(Video(flat_frames(), 8.0))))
    assert back.sound is None and back.rate == 0 and back.frames_per_second == 8.0


def test_equal_videos_give_equal_bytes() -> None:
    assert clip() == clip()


def test_the_sound_of_a_video_can_be_read_alone(place: Place) -> None:
    media = place("video", clip())
    together = read_video(media).sound
    assert together is not None
    assert np.array_equal(read_audio(media, RATE), together)
    with pytest.raises(MediaError, match="has no sound track"):
        read_audio(place("video", clip(with_sound=False)), RATE)


def test_sound_in_an_mp4_without_pictures_is_read(place: Place) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ipod") as out:
        track = out.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([tone(RATE)] * 2), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    assert sniff(buffer.getvalue()) == ("audio", ".m4a")
    samples = read_audio(place("audio", buffer.getvalue()), RATE)
    assert abs(len(samples) - RATE) <= RATE / 1000
    assert np.corrcoef(samples[2000:4000], tone(RATE)[2000:4000])[0, 1] > 0.99


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_video_is_turned_as_its_file_says(place: Place, quarter_turns: int) -> None:
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :16, :16] = 255  # white in the top left
    data = bytearray(encode_video(Video(frames, 8.0)))
    # ISO/IEC 14496-12, 8.3.2: the matrix of a track, here a clockwise rotation when it is shown.
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 44
    assert data[at : at + 36] == struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[at : at + 36] = matrix
    shown = read_video(place("video", bytes(data))).frames
    expected = np.rot90(frames, -quarter_turns, axes=(1, 2))
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_video_cut_short_is_refused(place: Place, container: str, kept: float) -> None:
    data = clip(container)
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_video(place("video", data[: int(kept * len(data))]))


def test_a_damaged_real_video_is_refused_and_not_painted_over(place: Place, shared: Path) -> None:
    data = bytearray((shared / "data" / "video" / "clips" / "asl_want.mkv").read_bytes())
    assert read_video(place("video", bytes(data))).frames.shape == (47, 480, 640, 3)
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    with pytest.raises(MediaError, match=r"thing\.bin"):
        read_video(place("video", bytes(data)))


def test_a_real_video_with_sound_is_read(shared: Path) -> None:
    video = read_video(Media("video", uri=str(shared / "data" / "video" / "clips" / "rabbit-watermelon.mp4")))
    assert video.frames.shape == (186, 718, 718, 3) and video.frames_per_second == 30
    assert video.rate == 48000 and video.sound is not None and video.sound.shape == (298992,)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (Limits(pixels=1535), "1,536 pixels, over the limit of 1,535 pixels"),
        (Limits(video_pixels=6 * 1536 - 1), "over the limit of 9,215 pixels in all frames"),
        (Limits(seconds=0.5), "over the limit of 0.5 seconds"),
    ],
)
def test_a_video_over_a_limit_is_refused(place: Place, container: str, limits: Limits, complaint: str) -> None:
    with pytest.raises(MediaError, match=complaint):
        read_video(place("video", clip(container)), limits)


def test_a_title_in_another_encoding_does_not_matter(place: Place) -> None:
    data = clip("matroska")
    assert b"ENCODER" in data
    assert read_video(place("video", data.replace(b"ENCODER", b"ENCOD\xc9R"))).frames.shape == (6, 32, 48, 3)


def test_a_playlist_that_points_at_other_files_is_no_video(place: Place) -> None:
    with pytest.raises(MediaError, match="no image, sound or video"):
        read_video(place("video", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"))


@pytest.mark.parametrize(
    ("video", "complaint"),
    [
        (Video(flat_frames(31, 48), 8.0), "48x31 frames; yuv420p needs an even"),
        (Video(flat_frames()[:0], 8.0), "uint8 of shape"),
        (Video(flat_frames().astype(np.float32), 8.0), "float32 of shape"),
        (Video(flat_frames(), 0.0), "0 frames a second"),
        (Video(flat_frames(), float("nan")), "nan frames a second"),
        (Video(flat_frames(), 8.0, tone(100), 22000), "sound at 22000 Hz; AAC holds"),
        (Video(flat_frames(), 8.0, np.full(9, np.nan, np.float32), RATE), "not a finite number"),
    ],
)
def test_a_video_that_cannot_be_encoded_says_why(video: Video, complaint: str) -> None:
    with pytest.raises(MediaError, match=f"video to be encoded: .*{complaint}"):
        encode_video(video)
