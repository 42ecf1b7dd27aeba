"""The denoiser of the drawn world's pictures: a UNet on latents, told an ImageBind feature and perhaps shown a source.

It is trained for what systems.codi2.image_decoder does with it. The class vector is a feature with noise in it, beside
the noise level's embedding, and all zeros where it is left out, for guidance; a source's latents, without the VAE's
scaling factor, go through columns of their own of the first convolution, zeros standing for no source.

What it is told is what CoDi-2 may predict: features of pictures and, for a part, of their captions, of norm sqrt(D) or
of the norm that they have. What it is shown is a picture of the same group, which is what an edit begins with, or
another one of the same subject.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from harness.drawn_world import Picture
from systems.codi2.diffusion import LEVELS, SourceInput
from systems.tiny.picture_vae import Cycle, descend

# Low levels are drawn most often: at inference there is no noise but what a prediction has in it.
MOST_LEVEL = 400
LEFT_OUT_SHARE, SUBJECT_SHARE = 0.1, 0.2
AVERAGE_DECAY = 0.999
STEPS_BETWEEN_FIGURES = 500
VALIDATED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """Its steps, their largest rate, and the shares of captions instead of pictures and of pictures with a source."""

    course: Cycle
    rate: float
    text_share: float
    source_share: float


DESCRIBED = Stage(Cycle(1500, cycle=3000), rate=1.2e-3, text_share=0.3, source_share=0.5)
TOLD = (
    Stage(Cycle(1300, cycle=1300), rate=1.2e-3, text_share=0.25, source_share=0.35),
    Stage(Cycle(900, cycle=900), rate=7e-4, text_share=0.25, source_share=0.35),
    Stage(Cycle(2400, cycle=2400), rate=1e-3, text_share=0.25, source_share=0.35),
    Stage(Cycle(4000, cycle=4000), rate=1e-3, text_share=0.25, source_share=0.35),
)


@dataclass(frozen=True, slots=True)
class UnetPlan:
    """Training on what is drawn in pictures, then, stage by stage, on features, and how many pictures a step has.

    The first stage is left while its rate is high still, since the second goes on with all that it found.
    """

    described: Stage = DESCRIBED
    told: tuple[Stage, ...] = TOLD
    batch: int = 32


@dataclass(frozen=True)
class Lessons:
    """Pictures to learn from, a row a picture.

    `latents` (n, channels, height, width) without the VAE's scaling factor `scale`; `features` (n, 2, D): of the
    picture, as the head gives it, and of its caption, of norm sqrt(D); `groups` and `subjects` say which rows may be
    the source of which.
    """

    latents: Tensor
    features: Tensor
    groups: Relatives
    subjects: Relatives
    scale: float


@dataclass(frozen=True)
class Relatives:
    """Rows by what they share: those of row r stand in `order` from `begin[r]` on, `count[r]` of them, r among them."""

    order: Tensor
    begin: Tensor
    count: Tensor

    @classmethod
    def of(cls, shared: Sequence[object]) -> Relatives:
        """Rows that have the same value are relatives."""
        numbers = {value: number for number, value in enumerate(dict.fromkeys(shared))}
        of_row = np.array([numbers[value] for value in shared])
        counts = np.bincount(of_row)
        begins = np.cumsum(counts) - counts
        order = np.argsort(of_row, kind="stable")
        return cls(*(torch.from_numpy(values) for values in (order, begins[of_row], counts[of_row])))

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """A relative of each row, which may be itself."""
        places = (torch.rand(len(rows), generator=generator) * self.count[rows]).long()
        return self.order[self.begin[rows] + places]


def lessons_of(pictures: Sequence[Picture], latents: Tensor, features: Tensor, scale: float) -> Lessons:
    """Lessons of a set of the world, rows as in `pictures`."""
    subjects = [tuple(one.values[name] for name in ("shape", "colour", "pattern")) for one in pictures]
    groups = [one.group for one in pictures]
    return Lessons(latents, features, Relatives.of(groups), Relatives.of(subjects), scale)


def class_vectors(features: Tensor, levels: Tensor, noising: Any, noise: Tensor) -> Tensor:
    """(B, 2 D): features (B, D) noised to levels (B,), and the levels' embeddings, as Stable unCLIP makes them."""
    noised = noising.add_noise(features, noise, levels)
    embedded = get_timestep_embedding(levels, features.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
    return torch.cat([noised, embedded], dim=1)


@dataclass(frozen=True)
class Teacher:
    """A UNet2DConditionModel whose first convolution is a SourceInput, and what its loss takes.

    `ddim` is systems.codi2.diffusion.ddim's scheduler, `noising` the features'; `context` (1, tokens, width) is the
    text of every picture.
    """

    unet: Any
    ddim: Any
    noising: Any
    context: Tensor

    def loss(self, lessons: Lessons, rows: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
        """The mean squared error of the predicted velocity of these rows, all else drawn."""
        count = len(rows)
        # One timestep of each part of the schedule.
        parts = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        timesteps = (parts * LEVELS).long().clamp(max=LEVELS - 1)
        clean = lessons.latents[rows] * lessons.scale
        noise = torch.randn(clean.shape, generator=generator)
        inputs = [self.ddim.add_noise(clean, noise, timesteps), self._sources(lessons, rows, stage, generator)]
        predicted = self.unet(
            torch.cat(inputs, dim=1),
            timesteps,
            self.context.expand(count, -1, -1),
            class_labels=self._classes(lessons, rows, stage, generator),
        ).sample
        return functional.mse_loss(predicted.float(), self.ddim.get_velocity(clean, noise, timesteps))

    def _classes(self, lessons: Lessons, rows: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
        of_text = _chance(len(rows), stage.text_share, generator).long()
        features = lessons.features[rows, of_text]
        of_unit_variance = functional.normalize(features, dim=1) * features.shape[1] ** 0.5
        features = torch.where(_chance(len(rows), 0.5, generator)[:, None], of_unit_variance, features)
        levels = (MOST_LEVEL * torch.rand(len(rows), generator=generator) ** 2).long()
        noise = torch.randn(features.shape, generator=generator)
        kept = ~_chance(len(rows), LEFT_OUT_SHARE, generator)
        return class_vectors(features, levels, self.noising, noise) * kept[:, None]

    def _sources(self, lessons: Lessons, rows: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
        by_subject = _chance(len(rows), SUBJECT_SHARE, generator)
        relatives = torch.where(
            by_subject, lessons.subjects.draw(rows, generator), lessons.groups.draw(rows, generator)
        )
        given = _chance(len(rows), stage.source_share, generator)
        return lessons.latents[relatives] * given[:, None, None, None]


def train_unet(
    teacher: Teacher, lessons: Lessons, validation: Lessons, stage: Stage, plan: UnetPlan, seed: int
) -> float:
    """Trains the teacher's UNet, which is then the average of what it was lately; its loss on validation."""
    generator = torch.Generator().manual_seed(seed)
    unet = teacher.unet.requires_grad_(True).train()
    parameters = list(unet.parameters())
    averages = [parameter.detach().clone() for parameter in parameters]

    def loss() -> Tensor:
        rows = torch.randint(len(lessons.latents), (plan.batch,), generator=generator)
        return teacher.loss(lessons, rows, stage, generator)

    for step in descend("unet", parameters, stage.course, stage.rate, loss):
        decay = min(AVERAGE_DECAY, step / (step + 10))
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], 1 - decay)
        if step % STEPS_BETWEEN_FIGURES == 0:
            figure = with_weights(parameters, averages, lambda: validation_loss(teacher, validation, stage))
            print(f"unet: step {step}, validation loss {figure:.4f}", file=sys.stderr, flush=True)
    for parameter, average in zip(parameters, averages, strict=True):
        parameter.data.copy_(average)
    unet.requires_grad_(False).eval()
    return validation_loss(teacher, validation, stage)


@torch.no_grad()
def validation_loss(teacher: Teacher, validation: Lessons, stage: Stage) -> float:
    """The loss of every row, its draws always the same."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.split(torch.arange(len(validation.latents)), VALIDATED_AT_ONCE)
    losses = [len(part) * float(teacher.loss(validation, part, stage, generator)) for part in parts]
    return sum(losses) / len(validation.latents)


def with_weights(parameters: list[nn.Parameter], weights: list[Tensor], measure: Callable[[], float]) -> float:
    """What is measured while the parameters are these weights."""
    own = [parameter.data for parameter in parameters]
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.data = weight
    try:
        return measure()
    finally:
        for parameter, kept in zip(parameters, own, strict=True):
            parameter.data = kept


def open_to_sources(unet: Any) -> SourceInput:
    """Lets a UNet's first convolution see sources; its new columns begin at zero and are to be trained."""
    opened = SourceInput(unet.conv_in, torch.zeros_like(unet.conv_in.weight))
    unet.conv_in = opened
    return opened


def _chance(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share
