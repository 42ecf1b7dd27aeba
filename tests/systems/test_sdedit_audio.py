"""SDEdit on AudioLDM2 beside diffusers' own pipeline, and beside itself in other company."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from diffusers import AudioLDM2Pipeline
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Model

from harness.errors import UsageError
from harness.media import decode, encode_audio, read_audio
from harness.nouns import Case, Item, Media, Modality, Output, Turn
from systems.codi2 import mel
from systems.sdedit_audio import SDEditAudio
from systems.tiny.sound_pipelines import audioldm2

SHORT, LONG = "rain", "A dog barks, while a church bell rings in the background"
ALPHAS = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)
# Of a sound's full scale; 16 bit are 3e-5.
CLOSE = 3e-4
Sounds = Callable[..., Media]


@pytest.fixture(scope="session")
def audioldm2_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audioldm2") / "tiny"
    audioldm2(folder, 0)
    return folder


@pytest.fixture(scope="module")
def system(audioldm2_tiny: Path) -> SDEditAudio:
    return SDEditAudio(str(audioldm2_tiny), "cpu", steps=4)


@pytest.fixture(scope="module")
def stock(audioldm2_tiny: Path) -> Any:
    """diffusers' own pipeline, whose scheduler is DDIM."""
    pipeline = AudioLDM2Pipeline.from_pretrained(audioldm2_tiny)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def copied(audioldm2_tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audioldm2_tiny, tmp_path / "copied"))


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    """A tone in noise, of so many samples at 16 kHz."""
    folder = tmp_path_factory.mktemp("sounds")

    def made(hertz: float = 500, samples: int = 5120, loudness: float = 0.5) -> Media:
        noise = 0.1 * np.random.default_rng(int(hertz)).standard_normal(samples)
        sound = loudness * (0.25 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16000) + noise)
        path = folder / f"{hertz}-{samples}-{loudness}.flac"
        path.write_bytes(encode_audio(sound, 16000))
        return Media("audio", uri=str(path))

    return made


def item(
    *inputs: Media, caption: str = LONG, seed: int = 5, wants: Sequence[Modality] = ("audio",), name: str = "add-7"
) -> Item:
    turn = Turn((*inputs, Media("text", text="Add: rain in the end")), tuple(wants))
    return Item(Case(name, (turn,), {"caption": caption} if caption else {}), 0, seed)


def answer(system: SDEditAudio, *items: Item) -> list[NDArray[np.float32]]:
    return [opened(output) for turns in system.generate(items) for turn in turns for output in turn]


def opened(output: Output) -> NDArray[np.float32]:
    assert output.modality == "audio" and output.flags == () and isinstance(output.data, bytes)
    sound = decode(output.data, "an answer")
    assert isinstance(sound, np.ndarray)
    return sound


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_defaults_are_the_published_half_of_the_steps() -> None:
    assert SDEditAudio.__init__.__kwdefaults__ == {
        "strength": 0.5,
        "steps": 100,
        "guidance_scale": 4.0,
        "scheduler": "pndm",
        "negative_prompt": "",
        "dtype": "float32",
    }


@torch.no_grad()
@pytest.mark.parametrize(
    ("steps", "scale", "negative"), [(6, 4.0, ""), (5, 1.0, ""), (4, 2.5, "an alarm clock, ringing")]
)
def test_from_pure_noise_with_ddim_the_latents_are_the_stock_pipelines_bit_for_bit(
    audioldm2_tiny: Path, stock: Any, steps: int, scale: float, negative: str
) -> None:
    system = SDEditAudio(
        str(audioldm2_tiny),
        "cpu",
        strength=1.0,
        steps=steps,
        guidance_scale=scale,
        scheduler="ddim",
        negative_prompt=negative,
    )
    expected = stock(
        [LONG],
        negative_prompt=[negative],
        num_inference_steps=steps,
        guidance_scale=scale,
        audio_length_in_s=0.32,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).audios
    assert torch.equal(system._denoise([LONG], random(1, 8, 8, 16, seed=5)), expected)


@torch.no_grad()
def test_an_answer_is_the_stock_pipelines_begun_from_the_noised_sound_at_the_sounds_level(
    audioldm2_tiny: Path, stock: Any, sounds: Sounds
) -> None:
    """All that happens to a case, written out: at strength 1 all of the steps are run, as the stock pipeline does."""
    heard = sounds()
    system = SDEditAudio(str(audioldm2_tiny), "cpu", strength=1.0, steps=4, scheduler="ddim")
    sound = read_audio(heard, 16000)
    encoded = stock.vae.encode(mel.log_mel(sound, 32)[None, None]).latent_dist.mean * stock.vae.config.scaling_factor
    kept = float(ALPHAS[751])
    begun = kept**0.5 * encoded + (1 - kept) ** 0.5 * random(1, 8, 8, 16, seed=5)
    expected = stock([LONG], num_inference_steps=4, guidance_scale=4.0, audio_length_in_s=0.32, latents=begun).audios[0]
    loudness = np.abs(sound - sound.mean()).max() / 0.5
    np.testing.assert_allclose(answer(system, item(heard))[0], loudness * expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("scheduler", "strength", "calls"), [("pndm", 0.75, 7), ("pndm", 0.25, 3), ("ddim", 0.5, 4), ("ddim", 1.0, 8)]
)
def test_strength_is_the_part_of_the_steps_that_is_run(
    audioldm2_tiny: Path, sounds: Sounds, scheduler: str, strength: float, calls: int
) -> None:
    system = SDEditAudio(str(audioldm2_tiny), "cpu", steps=8, strength=strength, scheduler=scheduler)
    asked: list[int] = []
    system._pipeline.unet.register_forward_hook(lambda module, inputs, output: asked.append(len(output[0])))
    answer(system, item(sounds()))
    assert asked == [2] * calls


def test_neighbours_change_nothing_but_rounding_whatever_their_captions_and_lengths(
    system: SDEditAudio, sounds: Sounds
) -> None:
    items = [
        item(sounds(), caption=SHORT, name="one"),
        item(sounds(900), caption=LONG, seed=6, name="two"),
        item(sounds(300, 3000), caption=SHORT, seed=7, name="three"),
    ]
    alone = [answer(system, one)[0] for one in items]
    for order in ([0, 1, 2], [2, 0, 1]):
        for place, found in zip(order, answer(system, *(items[place] for place in order)), strict=True):
            np.testing.assert_allclose(found, alone[place], rtol=0, atol=CLOSE)


def test_an_answer_depends_on_sound_caption_and_seed_and_the_same_again_is_the_same(
    system: SDEditAudio, sounds: Sounds
) -> None:
    usual = item(sounds())
    found = [
        answer(system, one)[0]
        for one in (usual, item(sounds(900)), item(sounds(), caption=SHORT), item(sounds(), seed=6))
    ]
    for other in found[1:]:
        assert np.abs(other - found[0]).max() > 10 * CLOSE
    assert system.generate([usual]) == system.generate([usual])


def test_each_wanted_sound_has_the_next_seed(system: SDEditAudio, sounds: Sounds) -> None:
    two = item(sounds(), wants=("audio", "audio"))
    talk = Item(Case("talk", two.case.turns * 2, two.case.tags), 0, 5)
    found = answer(system, talk)
    assert [len(turn) for turn in system.generate([talk])[0]] == [2, 2]
    for number, one in enumerate(found):
        expected = answer(system, item(sounds(), seed=5 + number))[0]
        np.testing.assert_allclose(one, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("samples", [1600, 1601, 2559, 20_123])
def test_an_answer_is_as_long_as_its_sound(system: SDEditAudio, sounds: Sounds, samples: int) -> None:
    (found,) = answer(system, item(sounds(samples=samples)))
    assert found.shape == (samples,) and float(found.std()) > 0.01


def test_an_answer_is_at_the_level_of_its_sound(system: SDEditAudio, sounds: Sounds) -> None:
    loud, quiet = (answer(system, item(sounds(loudness=loudness)))[0] for loudness in (0.5, 0.125))
    np.testing.assert_allclose(quiet, loud / 4, rtol=0, atol=0.02 * float(loud.std()))


def test_a_silent_sound_is_edited_too(system: SDEditAudio, sounds: Sounds) -> None:
    (found,) = answer(system, item(sounds(loudness=0.0)))
    assert float(found.std()) > 0.01


def test_the_last_sound_is_edited_and_other_inputs_are_ignored(system: SDEditAudio, sounds: Sounds) -> None:
    never_opened = Media("image", uri="nowhere.png")
    exemplar = item(Media("audio", uri="nowhere.flac"), never_opened, sounds())
    assert system.generate([exemplar]) == system.generate([item(sounds())])


def test_a_stereo_sound_of_another_rate_is_answered_in_mono_at_16_khz(system: SDEditAudio, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", 0.1 * np.random.default_rng(0).standard_normal((24_000, 2)), 48_000)
    (found,) = answer(system, item(Media("audio", uri=str(tmp_path / "x.wav"))))
    assert found.shape == (8000,)


def test_bfloat16_is_the_same_sound_but_for_its_rounding(
    audioldm2_tiny: Path, system: SDEditAudio, sounds: Sounds
) -> None:
    half = SDEditAudio(str(audioldm2_tiny), "cpu", steps=4, dtype="bfloat16")
    expected, found = answer(system, item(sounds()))[0], answer(half, item(sounds()))[0]
    assert 0 < float((found - expected).std()) < 0.1 * float(expected.std())


def test_what_is_not_finite_is_silence_and_flagged(audioldm2_tiny: Path, sounds: Sounds) -> None:
    system = SDEditAudio(str(audioldm2_tiny), "cpu", steps=2)
    system._pipeline.unet.conv_out.weight.data.fill_(torch.nan)
    ((output,),) = system.generate([item(sounds())])[0]
    assert output.flags == ("nan",) and isinstance(output.data, bytes)
    silence = decode(output.data, "an answer")
    assert isinstance(silence, np.ndarray) and not silence.any()


def change_index(folder: Path, **entries: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_folder_whose_gpt2_has_no_words_answers_as_one_whose_has(
    copied: Path, system: SDEditAudio, sounds: Sounds
) -> None:
    GPT2Model.from_pretrained(copied / "language_model").save_pretrained(copied / "language_model")
    change_index(copied, language_model=["transformers", "GPT2Model"])
    wordless = SDEditAudio(str(copied), "cpu", steps=4)
    assert wordless.generate([item(sounds())]) == system.generate([item(sounds())])


@pytest.mark.parametrize(
    ("component", "key"),
    [
        ("text_encoder", "audio_model.audio_encoder.batch_norm.running_var"),
        ("text_encoder", "text_projection.linear1.weight"),
        ("text_encoder_2", "encoder.final_layer_norm.weight"),
        ("projection_model", "sos_embed_1"),
        ("language_model", "transformer.ln_f.bias"),
        ("unet", "conv_norm_out.weight"),
        ("vae", "quant_conv.bias"),
        ("vocoder", "conv_pre.bias"),
    ],
)
def test_a_weight_that_is_missing_is_named(copied: Path, component: str, key: str) -> None:
    path = next((copied / component).glob("*.safetensors"))
    weights = load_file(path)
    del weights[key]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=rf"{component}: .*1 missing \(first: {key}\)") as refusal:
        SDEditAudio(str(copied), "cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"caption": ""}, r"^case add-7 has no tag 'caption', which sdedit_audio needs"),
        ({"wants": ("image",)}, r"^case add-7 wants image; sdedit_audio answers with sounds only$"),
    ],
)
def test_a_case_that_cannot_be_answered_is_named(
    system: SDEditAudio, sounds: Sounds, wrong: dict[str, Any], line: str
) -> None:
    with pytest.raises(UsageError, match=line):
        system.generate([item(sounds(), name="fine"), item(sounds(), **wrong)])


def test_a_case_without_a_sound_or_with_one_of_another_length_is_named(system: SDEditAudio, sounds: Sounds) -> None:
    with pytest.raises(UsageError, match=r"^case add-7 has no sound among its inputs"):
        system.generate([item(Media("image", uri="nowhere.png"))])
    with pytest.raises(UsageError, match=r"^case add-7: its sound is 0.05 s long, and sdedit_audio edits 0.1 to 60 s$"):
        system.generate([item(sounds(samples=800))])


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"strength": 1.5}, "strength=1.5: must be from 0 to 1"),
        ({"strength": 0.004}, "steps=100 at strength=0.004 leaves no step to take"),
        ({"steps": 0}, "steps=0: must be from 1 to 999"),
        ({"guidance_scale": -1.0}, "guidance_scale=-1.0: must be a number of at least 0"),
        ({"scheduler": "euler"}, "scheduler=euler: must be one of pndm, ddim"),
        ({"dtype": "float16"}, "dtype=float16 needs a GPU"),
    ],
)
def test_a_setting_out_of_range_is_refused(audioldm2_tiny: Path, setting: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        SDEditAudio(str(audioldm2_tiny), "cpu", **setting)


def test_other_folders_are_refused_by_what_they_are(checkpoints: Path, codi2_tiny: Path, copied: Path) -> None:
    with pytest.raises(UsageError, match="a StableDiffusionPipeline, and sdedit_audio runs an AudioLDM2Pipeline"):
        SDEditAudio(str(checkpoints / "stable-diffusion"), "cpu")
    with pytest.raises(
        UsageError, match="sound_decoder: sdedit_audio reads captions, and this folder has no language_"
    ):
        SDEditAudio(str(codi2_tiny / "sound_decoder"), "cpu")
    (copied / "scheduler/scheduler_config.json").write_text(
        json.dumps({"_class_name": "DDIMScheduler", "num_train_timesteps": 10})
    )
    with pytest.raises(UsageError, match="copied: the scheduler has 10 timesteps, and 1000 are expected"):
        SDEditAudio(str(copied), "cpu")
