"""The sound of a feature: AudioLDM2, told by CoDi-2's feature where its own text encoders would speak.

Conventions
- A feature is an embedding as the adapter hands it to every decoder, un-normalised (the prediction times the
  checkpoint's `feature_scale`), (B, D). It goes as one token into the stream that was Flan-T5's, which must be as wide
  (D is 1024 at full size), and through `language_of_audio`, a linear layer that CoDi-2 trains, into the 8 tokens that
  GPT-2 made. The unconditional branch is zero in both.
- How CoDi-2 told AudioLDM2 its features is not published: all of that is our choice, and so is the feature's scale.
  It is not normalised, as it is not for pictures, so that training decides how loud a feature speaks. No trap lies
  here: to a single token attention is linear (its softmax is 1 whatever the token is), and no noise is laid on it.
- DDIM, eta 0, on the folder's noise schedule and for its prediction type (epsilon at full size).
- A sound's noise, which is that of its latents, comes from its own generator, on the CPU in float32 whatever the device
  and dtype; latents stay float32 between the steps. Neighbours in a batch change nothing but rounding.
- VAE and vocoder run sound by sound, in float32 whatever the dtype: they are small (0.4 GB at full size, and once a
  sound), and the 8 bits of a bfloat16 would be heard, 50 dB below the sound.
- Sounds are mono, 16 kHz, cut to `seconds`, as loud as the vocoder makes them (its tanh keeps them in [-1, 1]).
- A folder whose model_index.json names no vocoder, [null, null], sounds by Griffin-Lim (systems.codi2.griffin_lim), cut
  off at -1 and 1. It is as loud as the mel says, and so the scaling that a source went through on its way in is undone
  on the way out: an edited sound's level follows its source's.
- A sound that left the finite numbers on the way is flagged "nan", and those samples are 0.

Editing: a source becomes latents, the mode of the VAE's posterior of its mel (systems.codi2.mel) times the scaling
factor, of unit variance as the noisy latents are.
- With editing columns (CoDi-2 "concatenates" the source, no more is published) they follow the noisy channels into the
  UNet. Scaled, unlike InstructPix2Pix's: AUDIT, which edits sounds so, concatenates the very latents that it diffuses.
  Guidance has three branches, of which the first two do not see the feature and the first does not see the source.
- Without, the source is edited by SDEdit at `strength`, and the sound is flagged "sdedit".
- Sounds with a source and those without are denoised apart, since they have other branches and other beginnings.

Source: diffusers 0.42, AudioLDM2Pipeline, which this equals bit for bit in float32 on the CPU (batch 1, its scheduler
DDIM, no source); AUDIT (arXiv:2304.00830), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import UsageError, one_line
from systems.codi2 import diffusion, griffin_lim, mel
from systems.codi2.checkpoint import SOUND_TOKENS as TOKENS
from systems.codi2.decoders import SOUND as PIPELINE
from systems.diffusers_pipeline import BROKEN_CHECKPOINT, load_pipeline, quiet
from systems.pipeline_folder import read_pipeline_folder

# Features are given: no text is ever read, and no sound is ranked.
NOT_NEEDED = (
    "text_encoder",
    "text_encoder_2",
    "projection_model",
    "language_model",
    "tokenizer",
    "tokenizer_2",
    "feature_extractor",
)
# Convolutions of float32 on a GPU are TF32 unless told otherwise, and as coarse as float16.
_in_full_float32 = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
VOCODER = "vocoder"
SHORTEST_SECONDS = 0.1
# Ours: six times what AudioLDM2 was trained on, and attention's memory grows with the square.
LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SoundSampling:
    """How sounds are drawn; steps, guidance and length are AudioLDM2's own defaults, source guidance InstructPix2Pix's.

    `steps` is 1 to 999, `guidance_scale` at least 0 (up to 1 there is no guidance), `seconds` 0.1 to 60. Of edited
    sounds alone: `source_guidance_scale` is at least 0, and SDEdit's `strength` 0 to 1. Raises UsageError out of these
    ranges.
    """

    steps: int = 200
    guidance_scale: float = 3.5
    source_guidance_scale: float = 1.5
    strength: float = 0.8
    seconds: float = 10.24

    def __post_init__(self) -> None:
        diffusion.require("steps", self.steps, 1, diffusion.LEVELS - 1)
        diffusion.require("guidance_scale", self.guidance_scale, 0)
        diffusion.require("source_guidance_scale", self.source_guidance_scale, 0)
        diffusion.require("strength", self.strength, 0, 1)
        diffusion.require("seconds", self.seconds, SHORTEST_SECONDS, LONGEST_SECONDS)

    @property
    def samples(self) -> int:
        """How many samples a sound has."""
        return round(self.seconds * mel.RATE)


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples (n,), float32 in [-1, 1], and what is to be said of them: "nan", "sdedit"."""

    samples: NDArray[np.float32]
    flags: tuple[str, ...]


class SoundDecoder:
    """Draws features.

    `module` holds all weights that decoding needs, and is moved as one: `module.to(device)`. `feature_size` is D,
    `rate` the sounds' sampling rate in Hz, `seconds` the length that its UNet was made for (10.24 at full size).
    """

    rate = mel.RATE

    def __init__(self, pipeline: Any, language_of_audio: Mapping[str, Tensor], editing: Tensor | None) -> None:
        """Takes an AudioLDM2Pipeline in float32 on the CPU over, without text encoders; ValueError for a misfit."""
        refuse_misfits(pipeline)
        self._scheduler = diffusion.ddim(pipeline.scheduler)
        width, self.feature_size = _slots(pipeline.unet)
        self._edits = editing is not None
        if editing is not None:
            pipeline.unet.conv_in = diffusion.SourceInput(pipeline.unet.conv_in, editing)
        self.module = _Weights(pipeline, _linear(language_of_audio, self.feature_size, width))
        self._factor: int = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self.seconds: float = pipeline.unet.config.sample_size * self._factor * mel.HOP / mel.RATE

    @classmethod
    def load(
        cls, path: Path, dtype: torch.dtype, language_of_audio: Mapping[str, Tensor], editing: Tensor | None
    ) -> SoundDecoder:
        """Reads UNet, VAE, vocoder (where there is one) and scheduler of an AudioLDM2Pipeline's folder, on the CPU.

        `language_of_audio` has "weight" (TOKENS * width, D) and "bias" (TOKENS * width,), width being that of the
        UNet's first stream, 768 at full size; `editing` are the UNet's columns for a source, (out, 8, 3, 3).

        Raises UsageError, in one line that names the folder, for another pipeline, for weights that are missing or
        misshapen, and for parts that do not fit together.
        """
        found = read_pipeline_folder(path)
        if found.pipeline != PIPELINE:
            raise UsageError(
                f"{path}: a {found.pipeline}, and CoDi-2 sounds with an {PIPELINE}; give that one's folder"
            )
        unvoiced = () if VOCODER in found.components else (VOCODER,)
        pipeline = load_pipeline(path, "auto", torch.float32, without=(*NOT_NEEDED, *unvoiced))
        try:
            decoder = cls(pipeline, language_of_audio, editing)
        except BROKEN_CHECKPOINT as error:
            raise UsageError(f"{path}: {one_line(error)}") from error
        with quiet():  # it warns of modules that stay in float32, and says that there are none
            decoder.module.unet.to(dtype)
        return decoder

    @torch.no_grad()
    def decode(
        self,
        embeddings: Tensor,
        generators: Sequence[torch.Generator],
        sampling: SoundSampling,
        sources: Sequence[NDArray[np.float32] | None],
    ) -> list[Sound]:
        """A sound for each row of embeddings (B, D), each with a CPU generator of its own.

        A source is what the sound of that row is to be made from, (n,) at `rate`, cut or padded to `seconds`. Raises
        UsageError where features are not of `feature_size`.
        """
        latents = self.denoise(embeddings, generators, sampling, sources)
        return [self._sound(latent, sampling, source) for latent, source in zip(latents, sources, strict=True)]

    @torch.no_grad()
    def denoise(
        self,
        embeddings: Tensor,
        generators: Sequence[torch.Generator],
        sampling: SoundSampling,
        sources: Sequence[NDArray[np.float32] | None],
    ) -> Tensor:
        """The latents (B, 8, frames / 4, 16) of the sounds, float32, as the VAE takes them times its scale."""
        if embeddings.shape[1:] != (self.feature_size,):
            raise UsageError(
                f"features of shape {tuple(embeddings.shape[1:])}, and this sound decoder takes {self.feature_size} "
                "numbers; the checkpoint was made for another one"
            )
        device = self.module.language_of_audio.weight.device
        frames = self._frames(sampling)
        embeddings = embeddings.to(device, torch.float32)
        noise = diffusion.draw(generators, self._latent_shape(frames)).to(device)
        latents = torch.empty_like(noise)
        for rows in diffusion.by_source(sources):
            given = [source for source in (sources[row] for row in rows) if source is not None]
            encoded = torch.stack([latents_of(self.module.vae, source, frames) for source in given]) if given else None
            latents[rows] = self._denoise(embeddings[rows], noise[rows], encoded, sampling)
        return latents

    def _denoise(self, embeddings: Tensor, noise: Tensor, sources: Tensor | None, sampling: SoundSampling) -> Tensor:
        """Latents of rows that all have a source, or none."""
        two = diffusion.two_way(sampling.guidance_scale)
        if sources is None:
            return self._run(embeddings, noise, None, two, sampling.steps)
        if self._edits:
            three = diffusion.three_way(sampling.source_guidance_scale, sampling.guidance_scale)
            return self._run(embeddings, noise, sources, three, sampling.steps)
        skipped = diffusion.skipped_steps(sampling.steps, sampling.strength)
        started = diffusion.noised(sources, noise, self._scheduler, sampling.steps, skipped)
        return self._run(embeddings, started, None, two, sampling.steps, skipped)

    def _run(
        self,
        embeddings: Tensor,
        latents: Tensor,
        sources: Tensor | None,
        scales: Sequence[float],
        steps: int,
        skipped: int = 0,
    ) -> Tensor:
        """Only the last branch is told the feature, and all but the first see the source."""
        unet, dtype, untold = self.module.unet, self.module.unet.dtype, len(scales)
        feature = diffusion.only_last(embeddings[:, None], untold).to(dtype)
        tokens = self.module.language_of_audio(embeddings).unflatten(1, (TOKENS, -1))
        tokens = diffusion.only_last(tokens, untold).to(dtype)
        mask = torch.ones(feature.shape[:2], dtype=torch.long, device=feature.device)
        seen = None if sources is None else torch.cat([torch.zeros_like(sources), *([sources] * untold)])

        def predict(inputs: Tensor, timestep: Tensor) -> Tensor:
            inputs = inputs if seen is None else torch.cat([inputs, seen], dim=1)
            predicted: Tensor = unet(
                inputs.to(dtype),
                timestep,
                encoder_hidden_states=tokens,
                encoder_hidden_states_1=feature,
                encoder_attention_mask_1=mask,
                return_dict=False,
            )[0]
            return predicted

        return diffusion.denoise(predict, latents, self._scheduler, steps, scales, skipped)

    def _sound(self, latent: Tensor, sampling: SoundSampling, source: NDArray[np.float32] | None) -> Sound:
        sound = sound_of(self.module.vae, self.module.vocoder, latent, sampling.samples)
        if isinstance(self.module.vocoder, griffin_lim.GriffinLim):
            gain = 1.0 if source is None else mel.gain_of(source, self._frames(sampling))
            sound = replace(sound, samples=np.clip(sound.samples / np.float32(gain), -1, 1))
        by_sdedit = source is not None and not self._edits
        return replace(sound, flags=(*sound.flags, diffusion.SDEDIT)) if by_sdedit else sound

    def _frames(self, sampling: SoundSampling) -> int:
        """Mel frames of a sound, as many as the latents, which are `_factor` times shorter, can say."""
        return math.ceil(sampling.samples / (mel.HOP * self._factor)) * self._factor

    def _latent_shape(self, frames: int) -> tuple[int, int, int]:
        return self.module.vae.config.latent_channels, frames // self._factor, mel.BANDS // self._factor


@_in_full_float32
def latents_of(vae: Any, source: NDArray[np.float32], frames: int) -> Tensor:
    """The latents (8, frames / 4, 16), float32, of a sound (n,) at mel.RATE, cut or padded to `frames` of its mel."""
    spectrogram = mel.log_mel(source, frames).to(vae.device)
    latent: Tensor = vae.encode(spectrogram[None, None]).latent_dist.mode()[0] * vae.config.scaling_factor
    return latent


@_in_full_float32
def sound_of(vae: Any, vocoder: Any, latent: Tensor, samples: int) -> Sound:
    """The first samples of the sound of latents (8, frames / 4, 16); what is not finite is 0, and flagged "nan"."""
    spectrogram = vae.decode(1 / vae.config.scaling_factor * latent[None], return_dict=False)[0]
    sound = vocoder(spectrogram[:, 0])[0, :samples].cpu().numpy()
    finite = np.isfinite(sound)
    return Sound(np.where(finite, sound, np.float32(0)), () if finite.all() else ("nan",))


class _Weights(nn.Module):
    """What must be on the device while decoding."""

    def __init__(self, pipeline: Any, language_of_audio: nn.Linear) -> None:
        super().__init__()
        self.unet: Any = pipeline.unet
        self.vae: Any = pipeline.vae
        self.vocoder: Any = griffin_lim.GriffinLim() if pipeline.vocoder is None else pipeline.vocoder
        self.language_of_audio = language_of_audio


def _slots(unet: Any) -> tuple[int, int]:
    """How wide the UNet's two streams are, the language of audio's and Flan-T5's.

    The published config says it level by level, with null for the self-attention that comes first.
    """
    levels = unet.config.cross_attention_dim
    match levels:
        case [[None, int(audio), int(text)], *others] if all(other == levels[0] for other in others):
            return audio, text
    raise ValueError(f"the UNet's cross_attention_dim is {levels}, and AudioLDM2's reads two streams at each level")


def _linear(tensors: Mapping[str, Tensor], inputs: int, width: int) -> nn.Linear:
    """The linear layer, float32, that makes TOKENS vectors of a feature."""
    expected = {"weight": (TOKENS * width, inputs), "bias": (TOKENS * width,)}
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"the UNet takes {TOKENS} tokens {width} wide and a feature of {inputs} numbers, so that "
                f"language_of_audio.{name} must be {shape}; it is {tuple(tensors[name].shape)}"
            )
    layer = nn.Linear(inputs, TOKENS * width)
    layer.load_state_dict({name: tensors[name].float() for name in expected})
    return layer.requires_grad_(False)


def refuse_misfits(pipeline: Any) -> None:
    """ValueError where UNet, VAE, vocoder and the mel spectrograms of systems.codi2.mel do not fit together."""
    unet, vae = pipeline.unet.config, pipeline.vae.config
    if not unet.in_channels == unet.out_channels == vae.latent_channels:
        raise ValueError(
            f"the UNet turns {unet.in_channels} channels into {unet.out_channels}, the VAE has {vae.latent_channels}"
        )
    if not vae.in_channels == vae.out_channels == 1:
        raise ValueError(f"the VAE takes {vae.in_channels} channels, and a mel spectrogram has one")
    if pipeline.vocoder is not None:
        _refuse_vocoder(pipeline.vocoder.config)


def _refuse_vocoder(vocoder: Any) -> None:
    if vocoder.model_in_dim != mel.BANDS or vocoder.sampling_rate != mel.RATE:
        raise ValueError(
            f"the vocoder makes {vocoder.sampling_rate} Hz of {vocoder.model_in_dim} mel bands, and {mel.RATE} of "
            f"{mel.BANDS} are expected"
        )
    hop = math.prod(vocoder.upsample_rates)
    if hop != mel.HOP:
        raise ValueError(f"the vocoder makes {hop} samples of a mel frame, and {mel.HOP} are expected")
