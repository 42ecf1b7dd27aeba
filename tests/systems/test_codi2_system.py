"""The system codi2 from cases to media, on a tiny checkpoint: what drives its pictures, and what must not."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, LlamaForCausalLM

from harness.errors import UsageError
from harness.media import read_audio
from harness.nouns import Case, Item, Media, Modality, Output, Turn
from systems.codi2.checkpoint import read_adapters, read_checkpoint, write_adapters
from systems.codi2.image_decoder import ImageDecoder, Sampling
from systems.codi2.language import LanguageModel
from systems.codi2.projectors import projector
from systems.codi2.system import CoDi2
from systems.imagebind.loading import load as load_imagebind
from systems.imagebind.preprocessing import images, sounds

STEPS = 2
CLOSE = 1e-4
Answers = list[list[list[Output]]]


@pytest.fixture(scope="module")
def system(codi2_tiny: Path) -> CoDi2:
    return CoDi2(str(codi2_tiny), "cpu", steps=STEPS, trace=True)


Maker = Callable[[str], Media]


def words(text: str) -> Media:
    return Media("text", text=text)


def item(*inputs: Media, wants: Sequence[Modality] = ("image",), seed: int = 7, name: str = "case") -> Item:
    return Item(Case(name, (Turn(inputs, tuple(wants)),)), 0, seed)


def feature(output: Output) -> np.ndarray:
    return np.frombuffer(output.trace, "<f4")


def pixels(output: Output) -> np.ndarray:
    assert isinstance(output.data, bytes)
    return np.asarray(Image.open(io.BytesIO(output.data)), dtype=int)


def one(system: CoDi2, asked: Item) -> Output:
    ((((output,),),)) = system.generate([asked])
    return output


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_a_picture_is_drawn_of_its_own_feature_and_noise(system: CoDi2, codi2_tiny: Path, media: Maker) -> None:
    drawn = one(system, item(words("a dog in snow"), media("dog")))
    found = read_checkpoint(codi2_tiny)
    decoder = ImageDecoder.load(found.image_decoder, torch.float32)
    embedding = torch.from_numpy(feature(drawn).copy())[None] * found.description.reading.feature_scale
    (expected,) = decoder.decode(embedding, [torch.Generator().manual_seed(7)], Sampling(steps=STEPS))
    assert (pixels(drawn) == np.asarray(expected.image)).all()
    assert drawn.flags == ()


def test_every_input_and_the_order_of_inputs_drive_the_picture(system: CoDi2, media: Maker) -> None:
    dog, cat, bark = media("dog"), media("cat"), media("sound of a dog")
    asked = (dog, cat, bark, words("both in snow"))
    drawn = one(system, item(*asked))
    others = [
        (media("fox"), cat, bark, words("both in snow")),
        (dog, media("fox"), bark, words("both in snow")),
        (dog, cat, media("sound of a bell"), words("both in snow")),
        (dog, cat, bark, words("both in rain")),
        (cat, dog, bark, words("both in snow")),
    ]
    for inputs in others:
        other = one(system, item(*inputs))
        assert apart(feature(other), feature(drawn)) > 0.01
        assert (pixels(other) != pixels(drawn)).any()


def test_a_mixed_batch_answers_as_each_case_alone(system: CoDi2, media: Maker) -> None:
    batch = [
        item(media("dog"), words("a dog"), name="a"),
        item(words("a very long wish " * 9), name="b", seed=8),
        item(media("dog"), media("cat"), media("sound"), words("all"), name="c"),
        item(media("cat"), words("a cat, then words"), wants=("image", "text", "image"), name="d"),
    ]
    together = system.generate(batch)
    for asked, answered in zip(batch, together, strict=True):
        ((alone,),) = system.generate([asked])
        for output, expected in zip(answered[0], alone, strict=True):
            assert output.modality == expected.modality
            if output.modality == "text":
                assert output.data == expected.data
            else:
                assert apart(feature(output), feature(expected)) < CLOSE
                assert np.abs(pixels(output) - pixels(expected)).max() <= 2


def test_samples_of_a_case_share_one_greedy_answer_and_differ_in_their_noise(
    system: CoDi2, media: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = item(media("dog"), words("a dog"))
    requests: list[int] = []
    answer = LanguageModel.answer

    def counted(self, given, decoding):  # type: ignore[no-untyped-def]
        requests.append(len(given))
        return answer(self, given, decoding)

    monkeypatch.setattr(LanguageModel, "answer", counted)
    answers = system.generate([replace(asked, sample=sample, seed=sample) for sample in range(3)])
    outputs = [output for ((output,),) in answers]
    assert requests == [1]
    assert len({output.trace for output in outputs}) == 1
    assert len({output.data for output in outputs}) == 3


def test_sampled_words_follow_each_samples_own_seed(codi2_tiny: Path, media: Maker) -> None:
    system = CoDi2(str(codi2_tiny), "cpu", temperature=1.0, max_new_tokens=8, tags="forced")
    asked = item(media("dog"), words("say something"), wants=("text",))
    batch = [replace(asked, sample=sample, seed=sample) for sample in range(3)]
    said = [output.data for ((output,),) in system.generate(batch)]
    assert len(set(said)) == 3
    assert [system.generate([one])[0][0][0].data for one in batch] == said


def test_a_later_turn_reads_what_was_shown_and_answered_before(system: CoDi2, media: Maker) -> None:
    def conversation(first: Media, wants: tuple[Modality, ...] = ("image",)) -> Answers:
        turns = (Turn((first, words("draw it")), wants), Turn((words("again, in snow"),), ("image",)))
        return system.generate([Item(Case("talk", turns), 0, 7)])

    ((_, (later,)),) = conversation(media("dog"))
    ((_, (misled,)),) = conversation(media("cat"))
    assert apart(feature(later), feature(misled)) > 0.001
    alone = one(system, item(words("again, in snow"), seed=8))
    assert apart(feature(later), feature(alone)) > 0.001


def test_conversations_of_different_length_share_a_batch(system: CoDi2, media: Maker) -> None:
    turn = Turn((media("dog"), words("draw it")), ("image",))
    long, short = Item(Case("long", (turn, turn)), 0, 1), Item(Case("short", (turn,)), 0, 2)
    ((first, second), (only,)) = system.generate([long, short])
    assert [len(first), len(second), len(only)] == [1, 1, 1]
    # The second output of an item has the next seed.
    ((alone, _),) = system.generate([long])
    assert np.abs(pixels(alone[0]) - pixels(first[0])).max() <= 2
    assert (pixels(second[0]) != pixels(first[0])).any()


@pytest.fixture
def copied(codi2_tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(codi2_tiny, tmp_path / "copied"))


def test_a_picture_that_the_model_did_not_ask_for_is_drawn_and_flagged(copied: Path, media: Maker) -> None:
    adapters = read_adapters(read_checkpoint(copied))
    write_adapters(copied, replace(adapters, output_embeddings=0 * adapters.output_embeddings))
    asked = item(media("dog"), words("a dog"))
    assert one(CoDi2(str(copied), "cpu", steps=STEPS, max_new_tokens=4), asked).flags == ("forced_tag",)
    assert one(CoDi2(str(copied), "cpu", steps=STEPS, tags="forced"), asked).flags == ()


def test_parts_that_take_turns_on_the_device_answer_the_same(codi2_tiny: Path, media: Maker) -> None:
    asked = item(media("dog"), words("a dog"))
    roomy = one(CoDi2(str(codi2_tiny), "cpu", steps=STEPS), asked)
    assert one(CoDi2(str(codi2_tiny), "cpu", steps=STEPS, memory_gb=0.006), asked) == roomy
    with pytest.raises(UsageError, match=r"memory_gb=0.001: .* alone is 0.0\d+ GiB"):
        CoDi2(str(codi2_tiny), "cpu", memory_gb=0.001)


def test_features_are_told_only_where_they_are_asked_for(codi2_tiny: Path, media: Maker) -> None:
    asked = item(media("dog"), words("a dog"))
    assert one(CoDi2(str(codi2_tiny), "cpu", steps=STEPS), asked).trace == b""


def test_half_precision_draws_nearly_the_same_feature(system: CoDi2, codi2_tiny: Path, media: Maker) -> None:
    asked = item(media("dog"), words("a dog"))
    coarse = one(CoDi2(str(codi2_tiny), "cpu", steps=STEPS, dtype="bfloat16", trace=True), asked)
    assert 0 < apart(feature(coarse), feature(one(system, asked))) < 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float64"}, "dtype=float64: must be one of"),
        ({"dtype": "float16"}, "dtype=float16 needs a GPU"),
        ({"tags": "free"}, "tags=free"),
        ({"steps": 0}, "steps=0"),
        ({"template": "subject"}, "subject-driven"),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_one_line(codi2_tiny: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        CoDi2(str(codi2_tiny), "cpu", **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("wanted", "opening"), [("image", 0), ("audio", 2), ("video", 4)])
def test_a_hand_built_model_answers_with_the_stated_function_of_what_it_was_shown(
    copied: Path, media: Maker, wanted: Modality, opening: int
) -> None:
    """One layer, q = k = 0, v = o = 1, no MLP: the state at the tag is norm(tag + mean of norm(all up to it))."""
    found = read_checkpoint(copied)
    llama = LlamaForCausalLM.from_pretrained(found.language_model)
    for name, weight in llama.model.layers.named_parameters():
        if weight.dim() == 2:
            keeps = name in ("0.self_attn.v_proj.weight", "0.self_attn.o_proj.weight")
            weight.data = torch.eye(len(weight)) if keeps else torch.zeros_like(weight)
    llama.save_pretrained(found.language_model)
    adapters = read_adapters(found)
    write_adapters(copied, replace(adapters, lora={key: 0 * value for key, value in adapters.lora.items()}))

    dog, bark = media("dog"), media("sound of a dog")
    quick = {"steps": STEPS, "sound_steps": 1, "sound_seconds": 0.32, "video_steps": 1, "frames": 2}
    system = CoDi2(str(copied), "cpu", tags="forced", template="plain", trace=True, **quick)
    drawn = one(system, item(words("x"), dog, bark, wants=(wanted,)))

    imagebind = load_imagebind(found.imagebind)
    config = imagebind.config
    assert config.vision is not None and config.audio is not None
    shown = imagebind.image_tokens(images([Image.open(dog.uri)], config.vision))[0]
    heard = imagebind.embed("audio", sounds([read_audio(bark, 16000)], config.audio))
    bridge, out = projector(found.features, found.widths.hidden), projector(found.widths.hidden, found.features)
    bridge.load_state_dict(dict(adapters.input_projector))
    out.load_state_dict(dict(adapters.output_projector))
    tags, tokenizer = adapters.input_embeddings, AutoTokenizer.from_pretrained(found.language_model)
    embed = llama.model.embed_tokens.weight

    def spelled(text: str) -> torch.Tensor:
        return embed[tokenizer(text, add_special_tokens=False)["input_ids"]]

    def norm(values: torch.Tensor) -> torch.Tensor:
        return values / (values.square().mean(-1, keepdim=True) + llama.config.rms_norm_eps).sqrt()

    tag = tags[opening : opening + 1]
    read = [embed[[tokenizer.bos_token_id]], spelled("[INST] x"), tags[:1], bridge(shown / shown[0].norm()), tags[1:2]]
    read += [tags[2:3], bridge(heard / heard.norm()), tags[3:4], spelled("[/INST]"), tag]
    with torch.no_grad():
        expected = out(norm(tag[0] + norm(torch.cat(read)).mean(0)))
        # Read one position off, the feature is another.
        beside = out(norm(spelled("]")[0] + norm(torch.cat(read[:-1])).mean(0)))
    assert apart(feature(drawn), expected.numpy()) < CLOSE
    assert apart(feature(drawn), beside.numpy()) > 0.1
