"""ImageBind's transforms beyond the recorded figures: laws, and the edges of what media can be."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import imagebind_toys as toys
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.errors import UsageError
from harness.media import Video
from systems.imagebind.config import Sheet, Vision
from systems.imagebind.fbank import FLOOR, fbank, mel_triangles
from systems.imagebind.preprocessing import clip_times, images, sounds, videos
from systems.imagebind.tokenizer import tokenize

SHEET = Sheet(width=8, blocks=1, heads=1, height=128, length=204, stride=10)
VISION = Vision(width=8, blocks=1, heads=1, picture=16, patch=8)
START, END = 49406, 49407


@given(st.floats(0.001, 1e4), st.integers(2, 9))
def test_clips_are_evenly_spread_from_the_beginning_to_the_end(seconds: float, clips: int) -> None:
    times = list(clip_times(seconds, clips))
    assert len(times) == clips and times[0][0] == 0
    assert all(end - start == 2 for start, end in times)
    steps = {later[0] - earlier[0] for earlier, later in pairwise(times)}
    assert len(steps) == 1
    assert times[-1][1] == max(2, 2 + Fraction(max(seconds - 2, 0)))


def test_a_tone_lights_the_band_at_its_pitch_in_every_frame() -> None:
    samples = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000)
    bands = fbank(samples, 128)
    assert bands.shape == (98, 128)
    # Band k is centred at mel = low + (k + 1) (high - low) / 129, mel = 1127 ln(1 + f / 700).
    low, high, tone = (1127 * math.log(1 + hertz / 700) for hertz in (20, 8000, 1000))
    expected = (tone - low) / (high - low) * 129 - 1
    assert (bands.argmax(dim=1) - expected).abs().max() < 1


def test_mel_triangles_overlap_so_that_every_frequency_counts_once() -> None:
    triangles = mel_triangles(128)
    assert triangles.shape == (128, 256) and triangles.min() >= 0 and triangles.max() <= 1
    mel = 1127 * (1 + 31.25 * torch.arange(256, dtype=torch.float64) / 700).log()
    corners = torch.linspace(1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + 8000 / 700), 130, dtype=torch.float64)
    inside = (mel >= corners[1]) & (mel <= corners[-2])
    assert torch.allclose(triangles.sum(dim=0)[inside], torch.ones(int(inside.sum())), atol=1e-4)


def test_silence_is_the_floor_and_then_the_padding() -> None:
    (views,) = sounds([np.zeros(32000, np.float32)], SHEET)
    assert views.shape == (3, 1, 128, 204)
    assert torch.allclose(views[..., :198], torch.tensor((math.log(FLOOR) + 4.268) / 9.138))
    assert torch.allclose(views[..., 198:], torch.tensor(4.268 / 9.138))


def test_a_short_sound_fills_the_beginning_of_three_equal_views() -> None:
    (views,) = sounds([toys.sound(4000)], SHEET)
    assert torch.allclose(views[0], views[1], atol=1e-4) and torch.allclose(views[0], views[2], atol=1e-4)
    frames = 1 + (4000 - 400) // 160
    assert torch.allclose(views[..., frames:], torch.tensor(4.268 / 9.138))
    assert (views[..., frames - 1] != 4.268 / 9.138).all()


def test_a_sound_without_one_window_is_refused() -> None:
    with pytest.raises(UsageError, match="a sound of 399 samples at 16 kHz; ImageBind needs 400"):
        sounds([toys.sound(4000), toys.sound(399)], SHEET)


@settings(deadline=None, max_examples=30)
@given(st.permutations([400, 20000, 32000, 70000]))
def test_a_sound_does_not_depend_on_its_neighbours_and_is_left_as_it_was(lengths: list[int]) -> None:
    signals = [toys.sound(length) for length in lengths]
    together = sounds(signals, SHEET)
    for signal, views in zip(signals, together, strict=True):
        assert torch.equal(views, sounds([signal], SHEET)[0])
    assert all(np.array_equal(signal, toys.sound(len(signal))) for signal in signals)


def test_the_clips_of_a_sound_are_its_beginning_middle_and_end() -> None:
    silent = np.zeros(160000, np.float32)
    for view, start in enumerate((0, 64000, 128000)):
        signal = silent.copy()
        signal[start : start + 32000] = toys.sound(32000)
        (views,) = sounds([signal], SHEET)
        heard = [bool((one[..., :198] > -1).any()) for one in views]
        assert heard == [number == view for number in range(3)]


def test_pictures_are_cut_at_their_centre_and_normalised_by_clips_statistics() -> None:
    white = np.full((16, 48, 3), 255, np.uint8)
    white[:, :16], white[:, 32:] = 0, 0
    (pixels,) = images([Image.fromarray(white)], VISION)
    assert pixels.shape == (3, 16, 16)
    expected = (1 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert torch.allclose(pixels, expected[:, None, None].expand(-1, 16, 16), atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.permutations([(16, 16), (40, 20), (9, 31), (200, 17)]))
def test_a_picture_does_not_depend_on_its_neighbours(sizes: list[tuple[int, int]]) -> None:
    pictures = [toys.picture(*size) for size in sizes]
    together = images(pictures, VISION)
    for picture, pixels in zip(pictures, together, strict=True):
        assert torch.equal(pixels, images([picture], VISION)[0])


@pytest.mark.parametrize("size", [(1001, 10), (10, 1001)])
def test_a_strip_is_refused_before_it_is_scaled_up(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=f"a picture of {size[0]} x {size[1]} pixels; crop it to 100 : 1"):
        images([Image.new("RGB", size)], VISION)
    frames = np.zeros((1, size[1], size[0], 3), np.uint8)
    with pytest.raises(UsageError, match=f"a video of {size[0]} x {size[1]} pixels"):
        videos([Video(frames, 25.0)], VISION)


def shown(views: torch.Tensor) -> list[list[int]]:
    """Which frame each view shows, of a video whose frame k is grey level k all over: (15, frames)."""
    levels = (views[:, 0].mean(dim=(2, 3)) * 0.26862954 + 0.48145466) * 255
    return [[round(level) for level in view] for view in levels.tolist()]


def counting(frames: int, frames_per_second: float) -> Video:
    levels = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return Video(np.broadcast_to(levels, (frames, 16, 24, 3)).copy(), frames_per_second)


def test_a_video_is_seen_at_both_ends_of_five_clips_thrice() -> None:
    (views,) = videos([counting(100, 10.0)], VISION)
    assert views.shape == (15, 3, 2, 16, 16)
    assert shown(views) == [[start, start + 19] for start in (0, 20, 40, 60, 80) for _ in range(3)]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 200), st.floats(0.01, 120))
def test_every_video_is_seen_in_order_and_within_its_clips(frames: int, frames_per_second: float) -> None:
    seen = shown(videos([counting(frames, frames_per_second)], VISION)[0])[::3]
    assert seen == sorted(seen) and all(0 <= first <= last < frames for first, last in seen)
    assert all((last - first) / frames_per_second < 2 for first, last in seen)
    assert seen[0][0] == 0


def test_a_video_slower_than_its_clips_shows_the_frame_on_screen() -> None:
    assert shown(videos([counting(2, 0.1)], VISION)[0])[::3] == [[0, 0]] * 2 + [[1, 1]] * 3


def test_the_crops_of_a_video_run_along_its_long_side() -> None:
    ramp = np.broadcast_to(np.arange(0, 96, 2, dtype=np.uint8)[None, None, :, None], (1, 16, 48, 3)).copy()
    wide = videos([Video(ramp, 25.0)], VISION)[0]
    tall = videos([Video(ramp.transpose(0, 2, 1, 3).copy(), 25.0)], VISION)[0]
    assert [level[0] for level in shown(wide[:3])] == [15, 47, 79]
    assert torch.allclose(tall, wide.transpose(-1, -2), atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.text(), max_size=4))
def test_every_text_is_77_ids_from_start_to_end_then_zeros(texts: list[str]) -> None:
    together = tokenize(texts)
    assert together.shape == (len(texts), 77) and together.dtype == torch.int64
    for text, ids in zip(texts, together, strict=True):
        assert torch.equal(ids, tokenize([text])[0])
        end = int((ids == END).nonzero()[0])
        assert ids[0] == START and not ids[end + 1 :].any() and ids.max() == END


@settings(deadline=None)
@given(st.integers(0, 200))
def test_a_long_text_loses_words_and_never_its_end(words: int) -> None:
    (ids,) = tokenize(["word " * words])
    kept = min(words, 75)
    assert ids.argmax() == kept + 1 and int((ids == ids[1]).sum() if words else 0) == kept
