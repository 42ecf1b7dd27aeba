"""Two lots of answers to the same samples: what differs, by how much, and what has no counterpart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media_toys import RATE, drawing, tone
from PIL import Image

from harness.agreement import Agreement, Held, compare
from harness.media import MediaError, Video, encode_audio, encode_image, encode_video
from harness.nouns import Generation, Media
from harness.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path))


def held(store: Store, *answers: bytes | str, scores: tuple[float | None, ...] = ()) -> Held:
    """One sample of a case for each answer: bytes are a medium, "!..." is an error, other text a text."""
    rows = {}
    for number, answer in enumerate(answers):
        row = Generation(f"c{number}", 0, 0, batch_size=4, device="cpu")
        if isinstance(answer, bytes):
            row = replace(row, outputs=(store.put_media("media", answer),))
        elif answer.startswith("!"):
            row = replace(row, error=answer)
        else:
            row = replace(row, outputs=(Media("text", text=answer, digest=answer),))
        rows[row.case, 0, 0] = row
    given = {("m", f"c{number}", 0, 0, 0): value for number, value in enumerate(scores) if value is not None}
    return Held(rows, given)


def both(store: Store, one: bytes | str, other: bytes | str) -> Agreement:
    return compare(held(store, one), held(store, other), [], store)


def png(pixels: np.ndarray) -> bytes:
    return encode_image(Image.fromarray(pixels))


def test_a_pixel_that_goes_down_counts_like_one_that_goes_up(store: Store) -> None:
    pixels = drawing().clip(20, 200).astype(np.uint8)
    up, down = pixels.copy(), pixels.copy()
    up[3, 4, 1] += 9
    down[3, 4, 1] -= 9
    for other in (up, down):
        agreement = both(store, png(pixels), png(other))
        assert (agreement.outputs, agreement.identical, agreement.media) == (1, 0, {"image": 9.0})


def test_sound_is_compared_sample_by_sample_at_full_scale_one(store: Store) -> None:
    quieter = 0.5 * tone(1600)
    agreement = both(store, encode_audio(tone(1600), RATE), encode_audio(quieter, RATE))
    assert agreement.media["audio"] == pytest.approx(0.25, abs=1e-3)


def test_video_is_compared_over_the_pixels_of_all_its_frames(store: Store) -> None:
    frames = np.full((4, 32, 32, 3), 100, np.uint8)
    later = frames.copy()
    later[3] = 150
    agreement = both(store, encode_video(Video(frames, 8.0)), encode_video(Video(later, 8.0)))
    assert agreement.media["video"] == pytest.approx(50, abs=4)


def test_outputs_of_another_size_are_named_and_texts_have_no_distance(store: Store) -> None:
    agreement = both(store, png(drawing(20, 30)), png(drawing(30, 20)))
    assert agreement.media == {}
    assert agreement.uncompared == ("case c0, sample 0: image: another size or length than the kept one",)
    assert both(store, "a dog", "a cat") == Agreement(1, 0, {}, (), ())


def test_the_largest_difference_of_a_metric_is_named_with_its_sample(store: Store) -> None:
    kept = held(store, "a", "b", "c", scores=(0.5, 0.25, 0.75))
    again = held(store, "a", "b", "c", scores=(0.5, 0.75, 0.5))
    (largest,) = compare(kept, again, ["m"], store).metrics
    assert (largest.value, largest.case, largest.compared, largest.expected) == (0.5, "c1", 3, 3)


def test_scores_without_a_counterpart_are_counted_on_either_side(store: Store) -> None:
    kept = held(store, "a", "b", "!kept error", scores=(0.5, None, None))
    again = held(store, "a", "b", "c", scores=(0.5, 0.5, 0.5))
    agreement = compare(kept, again, ["m"], store)
    assert agreement.outputs == 2
    assert (agreement.metrics[0].compared, agreement.metrics[0].expected) == (1, 2), "not that of the kept error"
    assert agreement.uncompared == ("metric m: 1 of 2 scores have no counterpart",)


def test_what_fails_only_the_second_time_is_named(store: Store) -> None:
    agreement = compare(held(store, "a", "!first"), held(store, "!second", "!second"), [], store)
    assert agreement.uncompared == ("case c0, sample 0: failed this time: !second",)


def test_a_kept_file_that_changed_is_named(store: Store, tmp_path: Path) -> None:
    kept = held(store, png(drawing()))
    (medium,) = kept.rows["c0", 0, 0].outputs
    (tmp_path / medium.uri).write_bytes(png(drawing(8, 8)))
    with pytest.raises(MediaError, match=rf"{medium.uri}: changed since its digest was taken"):
        compare(kept, held(store, png(drawing(8, 8))), [], store)
