"""The system codi2 beyond pictures: sounds and videos out, editing, conversations, on the tiny checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import UsageError
from harness.media import decode
from harness.nouns import Case, Item, Media, Modality, Output, Turn
from systems.codi2.checkpoint import read_adapters, read_checkpoint, write_adapters
from systems.codi2.description import read_description, write_description
from systems.codi2.image_decoder import ImageDecoder
from systems.codi2.model import Model
from systems.codi2.network import Network
from systems.codi2.sequence import length
from systems.codi2.system import CoDi2

QUICK = {"steps": 2, "sound_steps": 2, "sound_seconds": 0.32, "video_steps": 2, "frames": 4}
CLOSE = 1e-4
Maker = Callable[[str], Media]


@pytest.fixture(scope="module")
def system(codi2_tiny: Path) -> CoDi2:
    return CoDi2(str(codi2_tiny), "cpu", trace=True, **QUICK)


@pytest.fixture
def copied(codi2_tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(codi2_tiny, tmp_path / "copied"))


def words(text: str) -> Media:
    return Media("text", text=text)


def talk(*turns: tuple[Sequence[Media], Sequence[Modality]], name: str = "case", seed: int = 7, **tags: str) -> Item:
    return Item(Case(name, tuple(Turn(tuple(inputs), tuple(wants)) for inputs, wants in turns), tags), 0, seed)


def outputs(system: CoDi2, asked: Item) -> list[Output]:
    """All outputs of all turns."""
    return [output for turn in system.generate([asked])[0] for output in turn]


def feature(output: Output) -> np.ndarray:
    return np.frombuffer(output.trace, "<f4")


def opened(output: Output):  # type: ignore[no-untyped-def]
    assert isinstance(output.data, bytes)
    return decode(output.data, "an answer")


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def everything(media: Maker) -> Item:
    inputs = (words("put"), media("dog"), words("beside"), media("cat"), words("to this sound:"), media("sound"))
    return talk((inputs, ("text", "image", "audio", "video")))


def test_two_images_and_a_sound_yield_text_image_sound_and_video(system: CoDi2, media: Maker) -> None:
    said, picture, sound, video = outputs(system, everything(media))
    assert [one.modality for one in (said, picture, sound, video)] == ["text", "image", "audio", "video"]
    assert opened(picture).size == (64, 64)
    assert len(opened(sound)) == round(0.32 * 16000)
    clip = opened(video)
    assert len(clip.frames) == 4
    # Wanted beside a sound it carries it, silent where the sound has ended.
    heard = clip.sound[: len(opened(sound))]
    assert np.corrcoef(heard, opened(sound))[0, 1] > 0.5
    assert np.abs(clip.sound[-1000:]).max() < 0.01


def test_a_video_alone_is_silent(system: CoDi2, media: Maker) -> None:
    (video,) = outputs(system, talk(((words("a dog runs"), media("dog")), ("video",))))
    assert opened(video).sound is None


@pytest.mark.parametrize("wanted", ["audio", "video"])
def test_every_input_drives_sounds_and_videos(system: CoDi2, media: Maker, wanted: Modality) -> None:
    def made(picture: str, sound: str, seed: int = 7) -> Output:
        asked = talk(((media(picture), words("and"), media(sound)), (wanted,)), seed=seed)
        return outputs(system, asked)[0]

    first = made("dog", "sound")
    for other in (made("cat", "sound"), made("dog", "sound of rain")):
        assert apart(feature(other), feature(first)) > 0.001
        assert other.data != first.data
    again, seeded = made("dog", "sound"), made("dog", "sound", seed=8)
    assert (again.data, seeded.trace) == (first.data, first.trace) and seeded.data != first.data


def test_a_mixed_batch_answers_as_each_case_alone(system: CoDi2, media: Maker) -> None:
    edit = (media("dog"), words("make it snow"))
    batch = [
        talk((edit, ("image",)), name="a", seed=1),
        talk(((words("rain"),), ("audio",)), name="b", seed=2),
        talk(((media("sound"), words("add rain")), ("audio",)), name="c", seed=3, task="add"),
        talk(((media("cat"),), ("video",)), ((words("and its sound"),), ("audio", "image")), name="d", seed=4),
    ]
    together = system.generate(batch)
    for asked, answered in zip(batch, together, strict=True):
        for output, expected in zip([one for turn in answered for one in turn], outputs(system, asked), strict=True):
            assert apart(feature(output), feature(expected)) < CLOSE
            ours, alone = opened(output), opened(expected)
            if output.modality == "audio":
                assert np.abs(ours - alone).max() < 1e-3
            elif output.modality == "image":
                assert np.abs(np.asarray(ours, int) - np.asarray(alone, int)).max() <= 2
            else:
                # H.264 may spread one level over its neighbours.
                assert np.abs(ours.frames.astype(int) - alone.frames.astype(int)).max() <= 8


@pytest.mark.parametrize(("inputs", "wants", "task"), [("dog", "image", "editing"), ("sound", "audio", "add")])
def test_in_editing_the_source_drives_the_answer_beside_the_feature(
    system: CoDi2, media: Maker, monkeypatch: pytest.MonkeyPatch, inputs: str, wants: Modality, task: str
) -> None:
    asked = talk(((media(inputs), words("more of it")), (wants,)), task=task)
    (edited,) = outputs(system, asked)
    monkeypatch.setattr(Model, "_source", lambda self, asked, modality: None)
    (plain,) = outputs(system, asked)
    assert edited.trace == plain.trace and edited.data != plain.data
    assert edited.flags == plain.flags


def test_editing_columns_of_zero_hear_no_source(copied: Path, media: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_checkpoint(copied)
    adapters = read_adapters(found)
    assert adapters.image_editing is not None
    write_adapters(copied, replace(adapters, image_editing=0 * adapters.image_editing))
    deaf = CoDi2(str(copied), "cpu", **QUICK)
    asked = talk(((media("dog"), words("more of it")), ("image",)))
    (edited,) = outputs(deaf, asked)
    monkeypatch.setattr(Model, "_source", lambda self, asked, modality: None)
    assert outputs(deaf, asked) == [edited]


def test_without_weights_for_editing_sdedit_edits_and_is_said(copied: Path, media: Maker) -> None:
    adapters = read_adapters(read_checkpoint(copied))
    write_adapters(copied, replace(adapters, image_editing=None, sound_editing=None))
    untaught = CoDi2(str(copied), "cpu", **QUICK)
    image = talk(((media("dog"), words("make it snow")), ("image",)))
    sound = talk(((media("sound"), words("drop it")), ("audio",)), task="drop")
    assert "sdedit" in outputs(untaught, image)[0].flags
    assert "sdedit" in outputs(untaught, sound)[0].flags


def test_a_conversation_edits_what_it_made_last(system: CoDi2, media: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[object] = []
    decode_features = ImageDecoder.decode

    def watched(self, embeddings, generators, sampling, given):  # type: ignore[no-untyped-def]
        sources.extend(given)
        return decode_features(self, embeddings, generators, sampling, given)

    monkeypatch.setattr(ImageDecoder, "decode", watched)
    edits = [((media("dog"), words("make it snow")), ("image",)), ((words("at night"),), ("image",))]
    first, second, _ = outputs(system, talk(*edits, ((words("in rain"),), ("image",)), task="editing"))
    assert isinstance(sources[0], Image.Image) and sources[0].size == (48, 40)
    for source, made in zip(sources[1:], (first, second), strict=True):
        assert np.array_equal(np.asarray(source), np.asarray(opened(made)))


def test_changing_an_earlier_turn_changes_the_later_answers(system: CoDi2, media: Maker) -> None:
    def third(second: str) -> Output:
        later = [((words(text),), ("image",)) for text in (second, "in rain")]
        return outputs(system, talk(((media("dog"), words("make it snow")), ("image",)), *later, task="editing"))[-1]

    assert apart(feature(third("at night")), feature(third("by the sea"))) > 0.001


def test_a_turn_reads_only_what_is_new(system: CoDi2, media: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    embed = Network.embed

    def counted(self, rows):  # type: ignore[no-untyped-def]
        read.append(max(map(length, rows)))
        return embed(self, rows)

    monkeypatch.setattr(Network, "embed", counted)
    turns = [((media("dog"), media("cat"), words("draw them")), ("image",))] + 3 * [((words("again"),), ("image",))]
    outputs(system, talk(*turns))
    prompts = [count for count in read if count > 1]
    assert len(prompts) == 4
    assert prompts[1] == prompts[2] == prompts[3] < prompts[0] / 2


def test_only_the_newest_turn_keeps_what_was_read(system: CoDi2, media: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size it is half a megabyte a position: a copy for every turn would fill the device."""
    held: list[list[bool]] = []
    remember = Model._remember

    def watched(self, conversation, exchange, turn):  # type: ignore[no-untyped-def]
        remember(self, conversation, exchange, turn)
        held.append([bool(one.answer and one.answer.kept.layers) for one in conversation.exchanges])

    monkeypatch.setattr(Model, "_remember", watched)
    system.generate([talk(*(((words(said),), ["image"]) for said in ("a", "b", "c", "d")))])
    assert held == [[True], [False, True], [False, False, True], [False, False, False, False]]


def test_the_order_of_exemplars_matters(system: CoDi2, media: Maker) -> None:
    def learned(*names: str) -> np.ndarray:
        return feature(outputs(system, talk((tuple(map(media, names)), ("image",))))[0])

    assert apart(learned("dog", "dog in snow", "cat"), learned("dog in snow", "dog", "cat")) > 0.001


@pytest.mark.parametrize(
    ("task", "inputs", "wants"),
    [
        ("exemplar", ("sound a", "sound b", "sound c"), "audio"),
        ("concept", ("dog", "cat", "fox"), "image"),
        ("composition", ("dog", "=in front of", "cat", "=with", "sound"), "image"),
        ("phrase", ("=draw", "=a red bicycle", "=in snow"), "image"),
        ("reasoning", ("dog", "=what would it eat?"), "image"),
        ("replace", ("sound a", "sound b", "=the first by the second"), "audio"),
    ],
)
def test_every_in_context_task_is_answered(
    system: CoDi2, media: Maker, task: str, inputs: Sequence[str], wants: Modality
) -> None:
    given = [words(name[1:]) if name.startswith("=") else media(name) for name in inputs]
    (answered,) = outputs(system, talk((given, (wants,)), task=task))
    assert answered.modality == wants
    (other,) = outputs(system, talk(([*given[1:], given[0]] if task == "concept" else given, (wants,)), task="plain"))
    assert apart(feature(answered), feature(other)) > 0.001


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_what_the_checkpoint_cannot_make_is_refused_by_name(copied: Path, modality: Modality) -> None:
    adapters = read_adapters(read_checkpoint(copied))
    write_adapters(copied, replace(adapters, language_of_audio=None, video_context=None, sound_editing=None))
    write_description(copied, replace(read_description(copied), sound_decoder=None, video_decoder=None))
    mute = CoDi2(str(copied), "cpu", **QUICK)
    with pytest.raises(UsageError, match=f"case bell wants {modality}, and the checkpoint's codi2.json names no"):
        mute.generate([talk(((words("a bell"),), (modality,)), name="bell")])


def test_a_conversation_of_ones_own_is_that_of_a_case(system: CoDi2, media: Maker) -> None:
    """What the tiny model says by itself is one picture."""
    turns = [(words("draw"), media("dog")), (words("and now"), media("cat"))]
    reply = system.converse(seed=7)
    chatted = [reply(inputs) for inputs in turns]
    (expected,) = system.generate([talk(*[(inputs, ("image",)) for inputs in turns])])
    assert [[one.data for one in turn] for turn in chatted] == [[one.data for one in turn] for turn in expected]


def test_a_context_that_outgrows_the_window_says_by_how_much(system: CoDi2, media: Maker) -> None:
    pictures = [media("dog")] * 250
    with pytest.raises(UsageError, match=r"case long: a prompt of \d+ positions .* are \d+ more than"):
        system.generate([talk((pictures, ("image",)), name="long")])
