"""What is wrong with an answer that is there: black, one colour, silent, empty, or the same for everybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from degenerate_toys import ANSWERS, BAD, LONG, asking
from media_toys import drawing, flat_frames, saved, sound, tone
from PIL import Image

from harness.degenerate import SILENCE, count_degenerate, flags_of_media, flags_of_text, mark_repeated
from harness.generation import GENERATIONS, GenerationTask, generate, plan, read_generations
from harness.media import Video, decode, encode_video
from harness.nouns import Case, Generation, Media, Turn
from harness.pool import LocalPool
from harness.store import Store, Table

COLOURS = [(0, 0, 0), (255, 255, 255), (200, 30, 90), (3, 200, 17)]


def answered(tmp_path: Path, *prompts: str) -> dict[str, Generation]:
    """What the toy system's answers to these prompts are kept as, by prompt."""
    store = Store.at(str(tmp_path))
    table = Table(store, "generations", GENERATIONS)
    task = GenerationTask(BAD, "", "", {}, store, store.mark(), "media")
    batches = plan([asking(prompt) for prompt in prompts], 1, 0, 4)
    generate(task, batches, set(), LocalPool(), table, lambda done, failed: None)
    kept = {one.case: one for one in read_generations(table)}
    return {prompt: kept[asking(prompt).id] for prompt in prompts}


def one(case: str, output: Media, sample: int = 0, turn: int = 0, *flags: str) -> Generation:
    return Generation(case, sample, turn, (output,), degenerate=flags)


def picture(digest: str) -> Media:
    return Media("image", uri=f"media/{digest}.png", digest=digest)


def text(words: str) -> Media:
    return Media("text", text=words, digest=words)


def conversation(name: str, *inputs: str) -> Case:
    return Case(name, tuple(Turn((Media("text", text=word, digest=word),), ("image",)) for word in inputs))


def marked(rows: list[Generation], *cases: Case) -> list[tuple[str, ...]]:
    return [row.degenerate for row in mark_repeated(rows, cases)]


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_picture_of_one_colour_is_black_or_uniform_however_it_is_coded(
    form: str, colour: tuple[int, int, int]
) -> None:
    plain = saved(Image.new("RGB", (40, 30), colour), form)
    assert flags_of_media(decode(plain, "x")) == ["black" if max(colour) == 0 else "uniform"]


def test_a_dark_picture_with_something_in_it_is_neither_black_nor_uniform() -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[3, 5] = (0, 9, 0)
    assert flags_of_media(Image.fromarray(pixels)) == []
    assert flags_of_media(Image.fromarray(drawing())) == []


def test_two_halves_of_one_brightness_in_different_channels_are_not_one_colour() -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:15, :, 0] = pixels[15:, :, 1] = 200
    assert flags_of_media(Image.fromarray(pixels)) == []


@pytest.mark.parametrize(("peak", "flags"), [(0.0, ["silent"]), (SILENCE / 1.1, ["silent"]), (SILENCE * 1.1, [])])
@pytest.mark.parametrize("form", ["FLAC", "WAV"])
def test_sound_that_never_rises_above_60_dB_below_full_scale_is_silent(
    form: str, peak: float, flags: list[str]
) -> None:
    samples = tone(1600) * np.float32(peak / 0.5)
    assert flags_of_media(decode(sound(form, "PCM_24", samples), "x")) == flags


def test_a_video_is_black_or_uniform_over_all_its_frames_and_silent_by_its_sound_track() -> None:
    def flags(frames: np.ndarray, track: np.ndarray | None = None) -> list[str]:
        return flags_of_media(decode(encode_video(Video(frames, 8.0, track, 16000 if track is not None else 0)), "x"))

    frames = flat_frames()
    dark = 0 * frames
    last = dark.copy()
    last[-1] = frames[0]
    assert flags(dark) == ["black"]
    assert flags(np.stack([frames[5]] * 4)) == ["uniform"]
    assert flags(frames) == flags(last) == []
    assert flags(last, 0 * tone(8000)) == ["silent"]
    assert flags(dark, 0 * tone(8000)) == ["black", "silent"]
    assert flags(dark, tone(8000)) == ["black"]


@pytest.mark.parametrize("nothing", ["", "  ", "\n\t", "\u200b\ufeff", "\x00\x1b", "\u3000\u00a0"])
def test_a_text_without_a_visible_character_is_empty(nothing: str) -> None:
    assert flags_of_text(nothing) == ["empty"]
    assert flags_of_text(f"{nothing}.") == flags_of_text(f"犬{nothing}") == []


def test_every_answer_is_looked_at_when_it_is_kept(tmp_path: Path) -> None:
    kept = answered(tmp_path, *[prompt for prompt in ANSWERS if "half" not in prompt])
    flags = {prompt: one.degenerate for prompt, one in kept.items() if one.degenerate}
    assert flags == {
        "black": ("black",),
        "uniform": ("uniform",),
        "nan": ("black", "nan"),
        "silent": ("silent",),
        "a black silent clip": ("black", "silent"),
        "empty": ("empty",),
    }
    assert all(len(kept[prompt].outputs) == 1 for prompt in flags), "they are kept like any other answer"


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("half a picture", "the image it answered with: damaged, or not what its first bytes say (Truncated"),
        ("a damaged picture", "the image it answered with: damaged, or not what its first bytes say (cannot identify"),
        ("half a sound", "the audio it answered with: damaged, or not what its first bytes say (Error : flac"),
        ("a sound called a picture", "the system called its answer image, and its bytes are audio"),
    ],
)
def test_an_answer_that_does_not_decode_is_an_error_and_leaves_no_file(tmp_path: Path, prompt: str, line: str) -> None:
    kept = answered(tmp_path, prompt, "a text")
    assert kept[prompt].error.startswith(line)
    assert (kept[prompt].outputs, kept["a text"].error) == ((), "")
    assert not (tmp_path / "media").exists()


def test_the_same_picture_for_cases_that_ask_for_other_things_is_repeated() -> None:
    rows = [one("a", picture("same")), one("b", picture("same")), one("c", picture("own"))]
    cases = [conversation(name, f"draw {name}") for name in "abc"]
    assert marked(rows, *cases) == [("repeated",), ("repeated",), ()]


def test_cases_that_ask_the_same_may_be_answered_the_same() -> None:
    rows = [one("a", picture("same")), one("b", picture("same"))]
    assert marked(rows, conversation("a", "draw a dog"), conversation("b", "draw a dog")) == [(), ()]


def test_samples_and_turns_of_one_case_may_be_answered_the_same() -> None:
    rows = [one("a", picture("same"), sample, turn) for sample in range(2) for turn in range(2)]
    assert marked(rows, conversation("a", "draw a dog", "keep it")) == [()] * 4


def test_conversations_that_part_later_may_begin_with_the_same_answer() -> None:
    cases = conversation("a", "a dog", "in snow"), conversation("b", "a dog", "at sea")
    rows = [
        one("a", picture("dog")),
        one("a", picture("x"), 0, 1),
        one("b", picture("dog")),
        one("b", picture("x"), 0, 1),
    ]
    assert marked(rows, *cases) == [(), ("repeated",), (), ("repeated",)]


def test_the_same_words_after_another_beginning_are_another_question() -> None:
    cases = conversation("a", "a dog", "in snow"), conversation("b", "a cat", "in snow")
    assert marked([one("a", picture("x"), 0, 1), one("b", picture("x"), 0, 1)], *cases) == [("repeated",)] * 2


def test_a_short_text_may_be_the_answer_to_several_questions_and_a_long_one_is_repeated() -> None:
    cases = [conversation(name, f"what is {name}?") for name in "abcd"]
    rows = [one("a", text("yes")), one("b", text("yes")), one("c", text(LONG)), one("d", text(LONG))]
    assert marked(rows, *cases) == [(), (), ("repeated",), ("repeated",)]


def test_what_is_marked_already_is_not_marked_as_repeated_too() -> None:
    rows = [one("a", picture("dark"), 0, 0, "black"), one("b", picture("dark"), 0, 0, "black")]
    assert marked(rows, conversation("a", "dog"), conversation("b", "cat")) == [("black",), ("black",)]


def test_marking_a_constant_system_costs_no_more_than_its_answers() -> None:
    """With one comparison a pair this would be 10^10 of them."""
    cases = [conversation(f"c{number}", f"draw {number % 2}") for number in range(20_000)]
    rows = [one(case.id, picture("same"), sample) for case in cases for sample in range(5)]
    assert set(marked(rows, *cases)) == {("repeated",)}


def test_samples_are_counted_by_flag_once_however_many_turns_have_it() -> None:
    rows = [one("a", picture("x"), 0, 0, "black"), one("a", picture("x"), 0, 1, "black", "nan"), one("b", picture("y"))]
    assert count_degenerate(rows) == {"black": 1, "nan": 1}
