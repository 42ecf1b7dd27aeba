"""The sound decoder of the tiny preset: ImageBind-tiny's features to sounds of 2 s, in the format of AudioLDM2Pipeline.

`train` makes a folder that SoundDecoder.load reads: mel VAE, UNet and scheduler, and no vocoder, so that it sounds by
Griffin-Lim. Beside its parts is what CoDi-2 keeps among its adapters, under the names that it has there:

    sound_adapters.safetensors    sound.language_of_audio.{weight,bias}, sound_editing.conv_in.weight

The autoencoder's training is in systems.tiny.sound_vae, the UNet's in systems.tiny.sound_unet, what both learn from in
systems.tiny.sound_lessons, and what it reaches is measured in systems.tiny.sound_figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AudioLDM2Pipeline
from safetensors.torch import save_file
from torch import Tensor

from harness.drawn_world import read_world
from harness.recipes import Figure
from systems.codi2.checkpoint import LANGUAGE_OF_AUDIO, SOUND_EDITING
from systems.codi2.sound_decoder import NOT_NEEDED, SoundDecoder
from systems.diffusers_pipeline import quiet
from systems.imagebind.loading import load
from systems.tiny.pipelines import read_beside, save
from systems.tiny.sound_figures import Judge, held_out_of, validated
from systems.tiny.sound_lessons import Sounds, edits_of, lessons_of, sounds_of
from systems.tiny.sound_unet import Denoiser, UnetPlan, new_denoiser, new_scheduler, train_unet
from systems.tiny.sound_vae import VaePlan, train_vae

SHIPPED = Path(__file__).parent / "shipped"
IMAGEBIND, FOLDER = SHIPPED / "imagebind", SHIPPED / "sound_decoder"
ADAPTERS = "sound_adapters.safetensors"
# Of the training set, of which the autoencoder hears so many and the UNet learns so many to be edited: more would be
# drawn too seldom to be worth encoding.
HEARD, EDITED = 2500, 2500
VALIDATED = 40


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Trains autoencoder and UNet (about 22 minutes of one core); UsageError where ImageBind-tiny is not there."""
    imagebind = load(IMAGEBIND, modalities=("text", "audio"))
    world = read_world(data, "training")
    edits = edits_of(world, EDITED)
    sounds = sounds_of(world, edits_of(world, HEARD))
    vae = vae_of(sounds, VaePlan(), seed)
    denoiser = new_denoiser(imagebind.config.dimension, seed)
    validation = read_world(data, "validation")
    checked = edits_of(validation, VALIDATED)
    train_unet(
        denoiser,
        lessons_of(world, edits, sounds, vae, imagebind),
        lessons_of(validation, checked, sounds_of(validation, checked), vae, imagebind),
        UnetPlan(),
        seed,
    )
    write(vae, denoiser, folder)
    return validated(read(folder), imagebind, validation, VALIDATED)


def vae_of(sounds: Sounds, plan: VaePlan, seed: int) -> Any:
    """An autoencoder of these sounds, each as loud as it or another one of them is read."""

    def draw(count: int, generator: torch.Generator) -> Tensor:
        rows, loud_as = torch.randint(len(sounds.bands), (2, count), generator=generator).tolist()
        return sounds.spectrograms(rows, loud_as)

    return train_vae(draw, plan, seed)


def write(vae: Any, denoiser: Denoiser, folder: Path) -> None:
    """The pipeline's folder with the adapters beside its parts, all in float16."""
    unet = denoiser.unet
    opened = unet.conv_in
    unet.conv_in = opened.noisy
    pipeline: Any = AudioLDM2Pipeline(
        vae=vae, unet=unet, scheduler=new_scheduler(), vocoder=None, **dict.fromkeys(NOT_NEEDED)
    )
    linear = denoiser.language_of_audio
    adapters = {
        f"{LANGUAGE_OF_AUDIO}.weight": linear.weight,
        f"{LANGUAGE_OF_AUDIO}.bias": linear.bias,
        SOUND_EDITING: opened.columns,
    }
    with quiet():
        save(pipeline.to(torch.float16), folder)
    halves = {name: tensor.detach().half().contiguous() for name, tensor in adapters.items()}
    save_file(halves, folder / ADAPTERS, metadata={"format": "pt"})


def read(folder: Path = FOLDER) -> SoundDecoder:
    """The decoder that `train` wrote, in float32 and with its columns for editing; UsageError where it is not there."""
    tensors = read_beside(folder / ADAPTERS)
    linear = {name: tensors[f"{LANGUAGE_OF_AUDIO}.{name}"] for name in ("weight", "bias")}
    return SoundDecoder.load(folder, torch.float32, linear, tensors[SOUND_EDITING])


def held_out(data: Path, judge: Judge) -> Mapping[str, Figure]:
    """What the shipped decoder reaches on the test set, as systems.tiny.sound_figures.held_out_of says."""
    return held_out_of(read(), load(IMAGEBIND, modalities=("text", "audio")), read_world(data, "test"), judge)
