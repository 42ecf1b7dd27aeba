"""Oracle, copy_input, noise and resampled_target: what each hands on of the case, and the case named that lacks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UsageError
from harness.media import decode, read_audio
from harness.nouns import Case, Item, Media, Output, Turn
from systems.baselines import CopyInput, Noise, Oracle, ResampledTarget


@pytest.fixture
def photograph(tmp_path: Path) -> Media:
    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "photograph.jpg")
    return Media("image", uri=str(tmp_path / "photograph.jpg"))


@pytest.fixture
def sound(tmp_path: Path) -> Media:
    soundfile.write(tmp_path / "sound.wav", np.sin(np.arange(1600) / 9), 16000)
    return Media("audio", uri=str(tmp_path / "sound.wav"))


def item(*turns: Turn, seed: int = 1) -> Item:
    return Item(Case("dog6-03", turns), sample=0, seed=seed)


def heard(output: Output) -> NDArray[np.float64]:
    assert output.modality == "audio" and isinstance(output.data, bytes)
    sound = decode(output.data, "an answer")
    assert isinstance(sound, np.ndarray)
    return sound.astype(np.float64)


def seen(output: Output) -> NDArray[np.float64]:
    assert output.modality == "image" and isinstance(output.data, bytes)
    picture = decode(output.data, "an answer")
    assert isinstance(picture, Image.Image)
    return np.asarray(picture, dtype=np.float64)


def test_the_oracle_answers_with_the_target_as_it_stands_in_its_file(photograph: Media) -> None:
    turn = Turn((Media("text", text="a dog"),), ("image",), {"target": (photograph,)})
    assert Oracle("", "cpu").generate([item(turn)]) == [[[Output("image", Path(photograph.uri).read_bytes())]]]


def test_the_oracle_answers_every_turn_and_every_output_in_order(photograph: Media, sound: Media) -> None:
    first = Turn((), ("image", "text"), {"target": (photograph, Media("text", text="a red square"))})
    second = Turn((), ("audio",), {"target": (sound,)})
    answers = Oracle("", "cpu").generate([item(first, second), item(second)])
    assert [[[output.modality for output in turn] for turn in answer] for answer in answers] == [
        [["image", "text"], ["audio"]],
        [["audio"]],
    ]
    assert answers[0][0][1] == Output("text", "a red square")
    assert answers[1][0][0].data == Path(sound.uri).read_bytes()


def test_the_oracle_names_the_case_that_has_no_target(photograph: Media) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03: .*'target'.*none$"):
        Oracle("", "cpu").generate([item(Turn((photograph,), ("image",), {"reference": (photograph,)}))])


def test_the_oracle_refuses_targets_that_are_not_what_is_wanted(photograph: Media, sound: Media) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03: .*with image; the case has image, audio$"):
        Oracle("", "cpu").generate([item(Turn((), ("image",), {"target": (photograph, sound)}))])


def test_copy_input_answers_with_the_first_input_of_the_modality(photograph: Media, sound: Media) -> None:
    later = Media("image", uri="never opened.jpg")
    turn = Turn((Media("text", text="a dog"), sound, photograph, later), ("image", "audio", "text"))
    assert CopyInput("", "cpu").generate([item(turn)]) == [
        [
            [
                Output("image", Path(photograph.uri).read_bytes()),
                Output("audio", Path(sound.uri).read_bytes()),
                Output("text", "a dog"),
            ]
        ]
    ]


def test_copy_input_leaves_a_conversation_as_it_was_last_shown(photograph: Media, sound: Media) -> None:
    night, shown = Media("text", text="now at night"), Output("image", Path(photograph.uri).read_bytes())
    first, second = Turn((photograph,), ("image",)), Turn((sound, night), ("image",))
    assert CopyInput("", "cpu").generate([item(first, second, first)]) == [[[shown], [shown], [shown]]]
    with pytest.raises(UsageError, match=r"^case dog6-03: copy_input needs an input of modality image; the turn has n"):
        CopyInput("", "cpu").generate([item(second, first)])


def test_copy_input_answers_with_the_last_input_where_that_is_asked_for(photograph: Media, sound: Media) -> None:
    example = Media("audio", uri="never opened.flac")
    turn = Turn((example, example, sound, photograph), ("audio",))
    answers = CopyInput("", "cpu", which="last").generate([item(turn)])
    assert answers == [[[Output("audio", Path(sound.uri).read_bytes())]]]


def test_copy_input_of_an_exemplar_case_is_its_own_sound_and_not_the_examples(sound: Media) -> None:
    example = Media("audio", uri="never opened.flac")
    turn = Turn((example, example, sound), ("audio",))
    asked = Item(Case("exemplar-1", (turn,), {"task": "exemplar"}), 0, 0)
    assert CopyInput("", "cpu").generate([asked]) == [[[Output("audio", Path(sound.uri).read_bytes())]]]
    (((noise,),),) = Noise("", "cpu").generate([asked])
    assert isinstance(noise.data, bytes)
    assert len(decode(noise.data, "noise")) == len(read_audio(sound, 16_000)), "the example cannot even be opened"


def test_copy_input_copies_the_first_or_the_last_and_no_other() -> None:
    with pytest.raises(UsageError, match=r"^which=second: must be one of auto, first, last$"):
        CopyInput("", "cpu", which="second")


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 5000), loudness=st.floats(0.001, 0.2), seed=st.integers(0, 2**32))
def test_noise_is_as_long_and_as_loud_as_the_sound(
    tmp_path_factory: pytest.TempPathFactory, samples: int, loudness: float, seed: int
) -> None:
    path = tmp_path_factory.mktemp("sounds") / "sound.wav"
    soundfile.write(path, loudness * np.cos(np.arange(samples) / 9), 16000, subtype="FLOAT")
    given_sound = Media("audio", uri=str(path))
    turn = Turn((given_sound, Media("audio", uri="never opened.wav")), ("audio",))
    ((found,),) = Noise("", "cpu").generate([item(turn, seed=seed)])[0]
    expected = float(np.sqrt(np.mean(read_audio(given_sound, 16000).astype(np.float64) ** 2)))
    assert len(heard(found)) == samples
    # 16 bit are within 1.5e-5 of what was drawn.
    assert float(np.sqrt(np.mean(heard(found) ** 2))) == pytest.approx(expected, abs=2e-5)


def test_noise_is_white_and_gaussian_and_each_output_has_its_own_seed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", 0.1 * np.sin(np.arange(64_000) / 9), 16000)
    wanting = Turn((Media("audio", uri=str(tmp_path / "long.wav")),), ("audio", "audio"))
    first, second, third, fourth = (
        heard(output) for turn in Noise("", "cpu").generate([item(wanting, wanting)])[0] for output in turn
    )
    neighbours = np.corrcoef(first[1:], first[:-1])[0, 1]
    kurtosis = np.mean((first / first.std()) ** 4)
    assert abs(neighbours) < 0.02 and kurtosis == pytest.approx(3, abs=0.1)
    for other in (second, third, fourth):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.02
    ((again, _), _) = Noise("", "cpu").generate([item(wanting, wanting, seed=2)])[0]
    assert np.array_equal(heard(again), second)


def test_noise_is_as_large_as_the_picture_that_doing_nothing_copies(photograph: Media) -> None:
    wanting = Turn((photograph, Media("image", uri="never opened.png")), ("image", "image"))
    first, second = (seen(output) for (turn,) in Noise("", "cpu").generate([item(wanting)]) for output in turn)
    assert first.shape == (30, 40, 3)
    assert not np.array_equal(first, second)
    ((again, _),) = Noise("", "cpu").generate([item(wanting, seed=2)])[0]
    assert np.array_equal(seen(again), second), "each output has its own seed"


def test_noise_of_pictures_is_uniform_in_every_channel_and_of_64_pixels_where_nothing_is_shown() -> None:
    asked = Turn((Media("text", text="a red fish"),), ("image",))
    ((found,),) = Noise("", "cpu").generate([item(asked)])[0]
    pixels = seen(found)
    assert pixels.shape == (64, 64, 3)
    # Of a uniform draw from 0 to 255; 4096 of them have a mean within 6 of it, five standard errors.
    assert pixels.mean(axis=(0, 1)) == pytest.approx([127.5] * 3, abs=6)
    assert pixels.std() == pytest.approx(np.sqrt((256**2 - 1) / 12), rel=0.02)
    assert np.corrcoef(pixels[..., 0].ravel(), pixels[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.08)


def test_noise_without_a_sound_to_go_by_is_two_seconds_at_a_level_of_its_own() -> None:
    ((found,),) = Noise("", "cpu").generate([item(Turn((Media("text", text="a bell"),), ("audio",)))])[0]
    assert len(heard(found)) == 32_000
    assert float(np.sqrt(np.mean(heard(found) ** 2))) == pytest.approx(0.1, abs=2e-5)


def test_noise_of_sounds_is_what_it_was_before_there_were_any_of_pictures(sound: Media) -> None:
    ((found,),) = Noise("", "cpu").generate([item(Turn((sound,), ("audio",)), seed=3)])[0]
    expected = np.random.default_rng(3).standard_normal(1600)
    expected *= np.sqrt(np.mean(read_audio(sound, 16_000).astype(np.float64) ** 2) / np.mean(expected**2))
    np.testing.assert_allclose(heard(found), expected.clip(-1, 1), atol=4e-5)


def test_noise_names_the_case_that_wants_neither_picture_nor_sound(photograph: Media) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03 wants text; noise answers with pictures and sounds only$"):
        Noise("", "cpu").generate([item(Turn((photograph,), ("text",)))])


@pytest.mark.parametrize("rate", [24_000, 32_000])
def test_the_resampled_target_is_the_target_at_another_rate(tmp_path: Path, rate: int) -> None:
    hertz = np.array([[440], [3000]])
    tones = 0.2 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16000).sum(0)
    soundfile.write(tmp_path / "target.flac", tones, 16000)
    target = Media("audio", uri=str(tmp_path / "target.flac"))
    ((found,),) = ResampledTarget("", "cpu", rate=rate).generate([item(Turn((), ("audio",), {"target": (target,)}))])[0]
    assert isinstance(found.data, bytes)
    (tmp_path / "answer.flac").write_bytes(found.data)
    assert soundfile.info(tmp_path / "answer.flac").samplerate == rate
    back = read_audio(Media("audio", uri=str(tmp_path / "answer.flac")), 16000)
    # The ends ring; in between two resamplings and 16 bit are all that was done to it.
    assert len(back) == 16_000
    np.testing.assert_allclose(back[500:-500], tones[500:-500], rtol=0, atol=1e-4)


def test_the_resampled_target_is_heard_at_24_khz_unless_told_otherwise(sound: Media) -> None:
    turn = Turn((), ("audio",), {"target": (sound,)})
    assert ResampledTarget("", "cpu").generate([item(turn)]) == ResampledTarget("", "cpu", rate=24000).generate(
        [item(turn)]
    )


def test_the_resampled_target_names_what_it_cannot_do(photograph: Media) -> None:
    with pytest.raises(UsageError, match=r"^case dog6-03: resampled_target needs a part 'target' with audio; .* none$"):
        ResampledTarget("", "cpu").generate([item(Turn((photograph,), ("audio",)))])
    with pytest.raises(UsageError, match=r"^case dog6-03 wants image; resampled_target answers with sounds only$"):
        ResampledTarget("", "cpu").generate([item(Turn((), ("image",), {"target": (photograph,)}))])
    with pytest.raises(UsageError, match=r"^rate=0: must be from 1000 to 192000 Hz$"):
        ResampledTarget("", "cpu", rate=0)
