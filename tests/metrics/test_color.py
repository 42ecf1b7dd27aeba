"""Colour histograms and their intersection, on pictures whose values are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError
from harness.nouns import Features, Media
from metrics.color import COLOR_HIST, mean_intersection
from metrics.extractors.color import ColorHistogram, histogram

RED, BLUE = (255, 0, 0), (0, 0, 255)


def own(values: NDArray[np.floating]) -> Features:
    rows = len(values)
    return Features(values, np.full(rows, "a"), np.zeros(rows, np.int64), np.full(rows, -1), np.full(rows, -1))


def plain(*colors: tuple[int, int, int]) -> Image.Image:
    """Vertical stripes of equal width."""
    return Image.fromarray(np.repeat(np.array([colors], np.uint8), 10, axis=0))


def test_a_plain_picture_fills_one_bin_and_red_is_the_slowest() -> None:
    assert histogram(plain(RED)).argmax() == 7 * 64
    assert histogram(plain(BLUE)).argmax() == 7
    assert histogram(plain((31, 32, 0)))[8] == 1


def test_a_histogram_sums_to_one_whatever_the_size() -> None:
    picture = plain(RED, BLUE, (9, 99, 199))
    assert histogram(picture).shape == (512,)
    assert histogram(picture).sum() == pytest.approx(1, abs=1e-6)
    larger = picture.resize((picture.width * 7, picture.height * 3), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(histogram(larger), histogram(picture))


def test_equal_pictures_score_one_and_pictures_without_a_common_color_zero() -> None:
    red, blue = own(histogram(plain(RED))[None]), own(histogram(plain(BLUE))[None])
    assert mean_intersection(red, red)[0] == 1
    assert mean_intersection(red, blue)[0] == 0


def test_half_the_colors_in_common_score_one_half_and_references_are_averaged() -> None:
    both = own(histogram(plain(RED, BLUE))[None])
    assert mean_intersection(both, own(histogram(plain(RED))[None]))[0] == pytest.approx(0.5)
    references = own(np.stack([histogram(plain(RED, BLUE)), histogram(plain((0, 255, 0)))]))
    assert mean_intersection(both, references)[0] == pytest.approx(0.5)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_the_intersection_is_one_minus_half_the_l1_distance(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.dirichlet(np.full(512, 0.1), size=2)
    found = mean_intersection(own(x[None]), own(y[None]))[0]
    assert found == pytest.approx(1 - np.abs(x - y).sum() / 2, abs=1e-12)
    assert found == pytest.approx(mean_intersection(own(y[None]), own(x[None]))[0], abs=1e-15)
    assert COLOR_HIST.range[0] <= found <= COLOR_HIST.range[1]


def test_an_output_without_references_of_its_own_is_not_scored() -> None:
    red = own(histogram(plain(RED))[None])
    stranger = Features(red.values, np.array(["b"]), red.turn, red.sample, red.output)
    other_turn = Features(red.values, red.case, red.turn + 1, red.sample, red.output)
    assert np.isnan(mean_intersection(red, stranger)).all()
    assert np.isnan(mean_intersection(red, other_turn)).all()


def test_the_extractor_counts_files_in_order(tmp_path: Path) -> None:
    rows = []
    for name, color in (("red", RED), ("blue", BLUE)):
        plain(color).save(tmp_path / f"{name}.png")
        rows.append((Media("image", uri=str(tmp_path / f"{name}.png")),))
    features = ColorHistogram("", "cpu").extract(rows)
    assert features.shape == (2, 512) and features.dtype == np.float32
    assert features.argmax(axis=1).tolist() == [448, 7]


def test_weights_for_an_extractor_that_has_none_are_refused() -> None:
    with pytest.raises(UsageError, match="color-hist has none"):
        ColorHistogram("some/folder", "cpu")
