"""codi2-tiny: a whole checkpoint, the same bytes for the same seed, and random as it is it behaves as a CoDi-2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from transformers import AutoTokenizer

from benchmarks import SUITES
from harness.errors import UsageError
from harness.media import read_image
from harness.names import load
from harness.nouns import Suite
from systems.codi2 import tiny
from systems.codi2.checkpoint import check, read_adapters, read_checkpoint
from systems.codi2.conversation import Answer, Decoding, Exchange, Part, Request, Vectors
from systems.codi2.image_decoder import ImageDecoder, Sampling
from systems.codi2.language import LanguageModel
from systems.codi2.model import Parts, load_parts
from systems.codi2.sizes import TINY
from systems.codi2.sound_decoder import SoundSampling
from systems.codi2.video_decoder import VideoSampling
from systems.imagebind.loading import load as load_imagebind
from systems.imagebind.preprocessing import images


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def language(codi2_tiny: Path) -> LanguageModel:
    checkpoint = read_checkpoint(codi2_tiny)
    description = checkpoint.description
    trained = read_adapters(checkpoint)
    return LanguageModel.load(checkpoint.language_model, trained, description.lora, description.reading, torch.float32)


@pytest.fixture(scope="module")
def embeddings(codi2_tiny: Path) -> Tensor:
    """What ImageBind's head makes of the embedded photographs, one of each subject and a second of the first one:
    (pictures, 17, 64)."""
    suite: Suite = load(SUITES["dreambench-mini"])
    photographs = {case.turns[0].inputs[0].uri: case.turns[0].inputs[0] for case in suite.read(suite.embedded).cases}
    assert TINY.imagebind.vision is not None
    pixels = images([read_image(one) for one in photographs.values()], TINY.imagebind.vision)
    with torch.inference_mode():
        return load_imagebind(codi2_tiny / "imagebind").image_tokens(pixels)


@pytest.fixture(scope="module")
def seen(embeddings: Tensor) -> Tensor:
    return embeddings / embeddings[:, :1].norm(dim=-1, keepdim=True)


def ask(language: LanguageModel, *questions: Sequence[Part]) -> list[Answer]:
    requests = [Request((Exchange(tuple(question)),), ("image",), 0, "case") for question in questions]
    return language.answer(requests, Decoding())


def features(answers: Sequence[Answer]) -> Tensor:
    return torch.stack([answer.features[0].values for answer in answers])


def test_the_same_seed_writes_the_same_bytes_with_other_instructions_and_threads(
    tmp_path: Path, codi2_tiny: Path, repository: Path
) -> None:
    # Of the processors of today: those with AVX2 alone, where this one may have AVX-512.
    surroundings = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "runners.cli", "init", "codi2-tiny", str(tmp_path / "again")]
    subprocess.run(command, cwd=repository, env=os.environ | surroundings, capture_output=True, check=True)
    tiny.codi2(tmp_path / "other", 1)
    again, other = contents(tmp_path / "again"), contents(tmp_path / "other")
    assert again == contents(codi2_tiny)
    weights = {name for name in again if name.endswith(".safetensors") and "normalizer" not in name}
    assert {name for name in again if again[name] != other[name]} == weights


def test_it_is_all_there_small_and_passes_its_own_check(codi2_tiny: Path) -> None:
    files = contents(codi2_tiny)
    assert sum(map(len, files.values())) < 25_000_000
    assert {Path(file).suffix for file in files} == {".json", ".safetensors"}
    said = json.loads(files["codi2.json"])
    assert said["lora"] == {"rank": 8, "alpha": 16}
    for name in ("imagebind", "language_model", "image_decoder", "sound_decoder", "video_decoder"):
        assert said[name] == {"source": name, "digest": ""}
    check(str(codi2_tiny), [], 1)


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        tiny.codi2(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_it_asks_for_one_picture_by_itself_and_ends(language: LanguageModel, seen: Tensor) -> None:
    questions: list[Sequence[Part]] = [
        ["hello"],
        *([Vectors("image", one), text] for one in seen for text in ("in the jungle", "A [strange] ending]", "狗")),
        ["Combine", *(Vectors("image", one) for one in seen)],
    ]
    for answer in ask(language, *questions):
        assert [(one.modality, one.forced) for one in answer.features] == [("image", False)]
        assert answer.text == ""


@pytest.fixture(scope="module")
def varied(seen: Tensor) -> list[tuple[Part, ...]]:
    """Forty questions of 1 to 8 words, some with a picture before, among or after them."""
    random = np.random.default_rng(0)
    words = [*tiny.PROBE_WORDS.split(), "[strange]", "ending]", "狗", "What", "is", "this?", "A]", "Edit:", "\n", "7"]

    def question() -> tuple[Part, ...]:
        before, after = (" ".join(random.choice(words, random.integers(1, 9))) for _ in range(2))
        picture = Vectors("image", seen[random.integers(len(seen))])
        kinds: list[tuple[Part, ...]] = [(before,), (picture, after), (before, picture), (before, picture, after)]
        return kinds[random.integers(len(kinds))]

    return [question() for _ in range(40)]


def test_a_picture_comes_first_after_nearly_any_question_and_ends_the_answer(
    language: LanguageModel, varied: list[tuple[Part, ...]]
) -> None:
    requests = [Request((Exchange(one),), ("image",), number, str(number)) for number, one in enumerate(varied)]
    for temperature in (0.0, 1.0):
        answers = language.answer(requests, Decoding(temperature=temperature, max_new_tokens=16))
        as_asked = [[(f.modality, f.forced) for f in one.features] == [("image", False)] for one in answers]
        alone = [good and one.text == "" for good, one in zip(as_asked, answers, strict=True)]
        assert sum(alone) > 0.95 * len(varied)


def test_where_it_can_say_no_tag_it_says_some_words_and_ends(
    language: LanguageModel, varied: list[tuple[Part, ...]]
) -> None:
    requests = [Request((Exchange(one),), ("text",), number, str(number)) for number, one in enumerate(varied)]
    for temperature in (0.0, 1.0):
        answers = language.answer(requests, Decoding(temperature=temperature, tags="forced", max_new_tokens=64))
        assert sum(bool(one.text) for one in answers) > 0.8 * len(varied)
        assert sum(len(one.appended) < 64 for one in answers) > 0.8 * len(varied)
        assert len({one.text for one in answers}) > 0.5 * len(varied)


def test_other_pictures_other_words_and_another_order_move_the_feature(language: LanguageModel, seen: Tensor) -> None:
    first, last = Vectors("image", seen[0]), Vectors("image", seen[-1])
    one, picture, words, forth, back = features(
        ask(
            language,
            ["A photo of", first, "in the jungle"],
            ["A photo of", last, "in the jungle"],
            ["A photo of", first, "on a beach"],
            [first, "beside", last],
            [last, "beside", first],
        )
    )
    for left, right in ((one, picture), (one, words), (forth, back)):
        assert cosine_similarity(left, right, dim=0) < 0.95


def test_photographs_of_other_subjects_lie_apart_and_above_the_noise(embeddings: Tensor) -> None:
    pooled = embeddings[:, 0]
    apart = [float(cosine_similarity(pooled[i], pooled[j], dim=0)) for i in range(len(pooled)) for j in range(i)]
    assert min(apart) < 0.5
    assert float(pooled.norm(dim=-1).min()) > 2 * TINY.imagebind.dimension**0.5


def test_the_feature_scale_is_the_mean_norm_of_pooled_embeddings_and_predictions_have_about_that_norm(
    codi2_tiny: Path, language: LanguageModel, seen: Tensor
) -> None:
    scale = read_checkpoint(codi2_tiny).description.reading.feature_scale
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(5)
        media = tiny._media()
        model = load_imagebind(codi2_tiny / "imagebind")
        for modality, inputs in media.items():
            assert float(model.views(modality, inputs).norm(dim=-1).mean()) == pytest.approx(scale, rel=0.25)
    predicted = features(ask(language, *([Vectors("image", one), "in snow"] for one in seen)))
    assert 0.5 < float(predicted.norm(dim=1).mean()) < 2


def off_centre(vectors: Tensor) -> float:
    """The norm of the mean of vectors (n, dim) over their mean norm: 1 for equal ones, about 1 / sqrt(n) by chance."""
    return float(vectors.mean(0).norm() / vectors.norm(dim=1).mean())


def test_media_and_predictions_are_centred_and_states_are_more_than_their_token(
    codi2_tiny: Path, language: LanguageModel
) -> None:
    model = load_imagebind(codi2_tiny / "imagebind")
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(5)
        media = tiny._media()
        for modality, inputs in media.items():
            assert off_centre(model.views(modality, inputs).flatten(0, 1)) < 0.45
        tokens = model.image_tokens(media["vision"])
    tokens = tokens / tokens[:, :1].norm(dim=-1, keepdim=True)
    words = ("in snow", "on a red boat at night", "an old city by the river", "with a hat")
    states: list[Tensor] = []
    projector = language.network.output_projector
    hook = projector.register_forward_hook(lambda layer, inputs, output: states.append(inputs[0]))
    questions = [(words[n % 4], Vectors("image", one), words[(n + 1) % 4]) for n, one in enumerate(tokens)]
    predicted = features(ask(language, *questions))
    hook.remove()
    assert off_centre(predicted) < 0.55
    assert off_centre(normalize(torch.cat(states), dim=1)) ** 2 < 0.7


def test_the_image_decoder_hears_the_feature(codi2_tiny: Path, language: LanguageModel, seen: Tensor) -> None:
    decoder = ImageDecoder.load(codi2_tiny / "image_decoder", torch.float32)
    predicted = tiny.FEATURE_NORM * features(ask(language, *([Vectors("image", one)] for one in (seen[0], seen[-1]))))
    generators = [torch.Generator().manual_seed(1) for _ in predicted]
    drawn = decoder.decode(predicted, generators, Sampling(steps=5))
    assert [picture.flags for picture in drawn] == [(), ()]
    pixels = torch.stack([torch.tensor(list(picture.image.tobytes()), dtype=torch.float32) for picture in drawn])
    assert float((pixels[0] - pixels[1]).abs().mean()) > 3


@pytest.fixture(scope="module")
def parts(codi2_tiny: Path) -> Parts:
    return load_parts(codi2_tiny, torch.float32)


@pytest.fixture(scope="module")
def predicted(language: LanguageModel, seen: Tensor) -> Tensor:
    """Two embeddings as the decoders take them, of other pictures."""
    return tiny.FEATURE_NORM * features(ask(language, *([Vectors("image", one)] for one in (seen[0], seen[-1]))))


def seeded(count: int = 1) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1) for _ in range(count)]


def test_the_sound_decoder_hears_the_feature_and_is_heard(parts: Parts, predicted: Tensor) -> None:
    assert parts.sound_decoder
    sounds = parts.sound_decoder.decode(predicted, seeded(2), SoundSampling(steps=5, seconds=2.08), [None, None])
    first, second = (sound.samples for sound in sounds)
    assert [sound.flags for sound in sounds] == [(), ()]
    assert 0.03 < first.std() < 0.3 and float(np.abs(first).max()) < 1
    assert (first - second).std() > 0.1 * first.std()


def test_the_video_decoder_sees_the_feature(parts: Parts, predicted: Tensor) -> None:
    assert parts.video_decoder
    clips = parts.video_decoder.decode(predicted, seeded(2), VideoSampling(steps=5, frames=4))
    first, second = (clip.frames.astype(int) for clip in clips)
    assert [clip.flags for clip in clips] == [(), ()]
    assert first.shape == (4, 32, 32, 3)
    assert np.abs(first - second).mean() > 3
    assert np.abs(np.diff(first, axis=0)).mean() > 3


def test_a_picture_and_a_sound_are_edited_by_columns_that_show_the_source(parts: Parts, predicted: Tensor) -> None:
    assert parts.sound_decoder
    sampling, times = SoundSampling(steps=5, seconds=0.64), np.arange(10240) / 16000
    tones = [np.sin(2 * np.pi * hertz * times).astype(np.float32) for hertz in (500, 3000)]
    sounds = [parts.sound_decoder.decode(predicted[:1], seeded(), sampling, [one])[0] for one in (None, *tones)]
    pictures: list[Image.Image | None] = [None, *(Image.new("RGB", (64, 64), one) for one in ("navy", "orange"))]
    drawn = [parts.image_decoder.decode(predicted[:1], seeded(), Sampling(steps=5), [one])[0] for one in pictures]
    assert {one.flags for one in sounds} | {one.flags for one in drawn} == {()}
    heard = [one.samples for one in sounds]
    shown = [np.asarray(one.image, dtype=int) for one in drawn]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (heard[one] - heard[other]).std() > 0.03 * heard[0].std()
        assert np.abs(shown[one] - shown[other]).mean() > 3


@pytest.fixture(scope="module")
def tokenizer(codi2_tiny: Path) -> Any:
    return AutoTokenizer.from_pretrained(codi2_tiny / "language_model", local_files_only=True)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_the_tokenizer_gives_any_text_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_the_tokenizer_has_llamas_special_tokens_and_the_models_vocabulary(tokenizer: Any) -> None:
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len(tokenizer) == TINY.language_model.vocab_size
    assert tokenizer("hi").input_ids[0] == 1
    prompt = "a photo of a dog in the jungle with a city in the background"
    assert len(tokenizer(prompt, add_special_tokens=False).input_ids) < len(prompt) / 2
