"""The image decoder of the tiny preset: ImageBind-tiny's features to pictures of 64 x 64 px, in Stable unCLIP's format.

`train` makes the folder of a StableUnCLIPImg2ImgPipeline without its image encoder, which ImageDecoder.load reads, and
beside its parts the columns for editing. These are in a file of their own, as CoDi-2 keeps them among its adapters:

    image_editing.safetensors    image_editing.conv_in.weight (64, 4, 3, 3)

The text encoder is random: it reads nothing but the decoder's constant tags. The autoencoder's training is in
systems.tiny.picture_vae, the UNet's in systems.tiny.picture_unet: first on what is drawn in each picture, as the data
folder says it, which needs no ImageBind, and then on features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from harness.drawn_world import ATTRIBUTES, World, read_world
from harness.recipes import Figure
from systems.codi2 import diffusion
from systems.codi2.checkpoint import IMAGE_EDITING
from systems.codi2.decoder_parts import image_decoder
from systems.codi2.image_decoder import TAGS, ImageDecoder, Sampling
from systems.codi2.sizes import TINY
from systems.diffusers_pipeline import quiet
from systems.imagebind.loading import load
from systems.imagebind.model import ImageBind
from systems.imagebind.preprocessing import images
from systems.imagebind.tokenizer import tokenize
from systems.tiny.picture_unet import Lessons, Teacher, UnetPlan, lessons_of, open_to_sources, train_unet
from systems.tiny.picture_vae import SIDE, VaePlan, decode, encode, peak_signal_to_noise, train_vae, vae_sizes
from systems.tiny.pipelines import clip_tokenizer, read_beside, save

SHIPPED = Path(__file__).parent / "shipped"
IMAGEBIND, FOLDER = SHIPPED / "imagebind", SHIPPED / "image_decoder"
EDITING = "image_editing.safetensors"
UNET_WIDTHS = (64, 96)
EMBEDDED_AT_ONCE = 256
# Of the mean variance of a feature's number.
RIDGE = 1e-2
# The world's poses: right, down, radius, tilt.
MIDDLE_POSE, POSE_DEVIATIONS = (0.0, 0.0, 16.0, 0.0), (5.6, 5.6, 1.6, 12.0)
# What its pictures are best with, chosen on validation.
SAMPLING = Sampling(steps=20, guidance_scale=4.0, noise_level=0, source_guidance_scale=1.5)


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Trains autoencoder, UNet and columns (about 45 minutes of one core); UsageError where ImageBind-tiny is not."""
    imagebind = load(IMAGEBIND, modalities=("vision", "text"))
    vae = train_vae(read_world(data, "training").pixels, VaePlan(), seed)
    return train_on(vae, imagebind, data, folder, UnetPlan(), seed)


def train_on(
    vae: Any, imagebind: ImageBind, data: Path, folder: Path, plan: UnetPlan, seed: int
) -> Mapping[str, Figure]:
    """Trains the UNet on a VAE's latents and an ImageBind's features, and writes all; figures of validation."""
    training, validation = read_world(data, "training"), read_world(data, "validation")
    pipeline = new_pipeline(vae, imagebind.config.dimension, seed)
    opened = open_to_sources(pipeline.unet)
    teacher = _teacher(pipeline)
    size = imagebind.config.dimension
    described, checked = described_lessons(training, vae, size), described_lessons(validation, vae, size)
    train_unet(teacher, described, checked, plan.described, plan, seed)
    lessons, checked = (with_features(described, imagebind, training), with_features(checked, imagebind, validation))
    translate(pipeline.unet.class_embedding.linear_1, described.features, lessons.features)
    for number, stage in enumerate(plan.told, start=1):
        loss = train_unet(teacher, lessons, checked, stage, plan, seed + number)
    pipeline.unet.conv_in = opened.noisy
    ratios = peak_signal_to_noise(decode(vae, checked.latents), validation.pixels)
    write(pipeline, opened.columns, folder)
    return {"autoencoder PSNR": mean(ratios), "velocity loss": Figure(loss, loss, loss, len(checked.latents))}


def new_pipeline(vae: Any, dimension: int, seed: int, widths: Sequence[int] = UNET_WIDTHS) -> Any:
    """A StableUnCLIPImg2ImgPipeline for features of `dimension` numbers, float32: all but the VAE is random."""
    channels = vae.config["latent_channels"]
    unet = {
        "sample_size": SIDE // 2 ** (len(vae.config["block_out_channels"]) - 1),
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": tuple(widths),
        "layers_per_block": 1,
        # Attention is where all positions see each other at the least cost, in the middle.
        "down_block_types": ("DownBlock2D",) * len(widths),
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": ("UpBlock2D",) * len(widths),
        "attention_head_dim": tuple(width // 32 for width in widths),
        "norm_num_groups": 8,
        "cross_attention_dim": TINY.text_encoder.hidden_size,
        "use_linear_projection": True,
        "resnet_time_scale_shift": "scale_shift",
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2 * dimension,
    }
    sizes = replace(
        TINY,
        imagebind=replace(TINY.imagebind, dimension=dimension),
        unet=unet,
        vae=vae_sizes(vae.config["block_out_channels"]),
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        pipeline: Any = image_decoder(sizes, clip_tokenizer())
    pipeline.register_modules(vae=vae)
    return pipeline


def described_lessons(world: World, vae: Any, size: int) -> Lessons:
    """What a UNet learns of a set before it is told features: pictures, by what is drawn in them.

    A picture's stand-in for a feature, of `size` numbers, has all that was drawn in random directions; its caption's
    lacks the pose, and says so.
    """
    values = [torch.eye(len(world.attributes[name]))[world.classes(name)] for name in ATTRIBUTES]
    named = torch.cat([one - 1 / one.shape[1] for one in values], dim=1)
    poses = torch.tensor([one.pose for one in world.pictures]) - torch.tensor(MIDDLE_POSE)
    posed = functional.pad(poses / torch.tensor(POSE_DEVIATIONS) / 2, (0, 1), value=1.0)
    unposed = functional.pad(torch.zeros_like(poses), (0, 1), value=-1.0)
    known = torch.stack([torch.cat([named, one], dim=1) for one in (posed, unposed)], dim=1)
    directions = torch.randn(known.shape[2], size, generator=torch.Generator().manual_seed(0))
    stand_ins = known @ directions
    return lessons_of(
        world.pictures, encode(vae, world.pixels), stand_ins / stand_ins.std(), vae.config["scaling_factor"]
    )


def with_features(lessons: Lessons, imagebind: ImageBind, world: World) -> Lessons:
    """The same lessons with features of pictures and captions."""
    captions = [one.caption for one in world.pictures]
    features = [picture_features(imagebind, world.pixels), caption_features(imagebind, captions)]
    return replace(lessons, features=torch.stack(features, dim=1))


@torch.no_grad()
def translate(first: torch.nn.Linear, known: Tensor, features: Tensor) -> None:
    """Lets the first layer of a UNet's class embedding read features (n, 2, D) for what it knew, (n, 2, D).

    Features are taken to what was known by ridge regression, which does not blow up what features hardly vary in. There
    is no intercept: a class vector that is left out, all zeros, is to be what it was.
    """
    size = known.shape[2]
    inputs, outputs = features.flatten(0, 1).double(), known.flatten(0, 1).double()
    moments = inputs.T @ inputs
    moments += RIDGE * moments.diagonal().mean() * torch.eye(size)
    found = torch.linalg.solve(moments, inputs.T @ outputs).float()
    first.weight[:, :size] = first.weight[:, :size] @ found.T


@torch.no_grad()
def picture_features(imagebind: ImageBind, pixels: NDArray[np.uint8]) -> Tensor:
    """(n, D), as the head gives them, of pictures (n, 64, 64, 3)."""
    size = imagebind.config.vision
    assert size is not None
    parts = np.array_split(pixels, max(1, len(pixels) // EMBEDDED_AT_ONCE))
    embedded = [imagebind.embed("vision", images(as_pictures(part), size), normalize=False) for part in parts]
    return torch.cat(embedded)


@torch.no_grad()
def caption_features(imagebind: ImageBind, captions: Sequence[str]) -> Tensor:
    """(n, D) of norm sqrt(D), as long as a picture's of unit variance."""
    size = imagebind.config.text
    assert size is not None
    different = list(dict.fromkeys(captions))
    ids = torch.split(tokenize(different, size.context, size.vocabulary), EMBEDDED_AT_ONCE)
    embedded = torch.cat([imagebind.embed("text", part, normalize=False) for part in ids])
    places = {caption: place for place, caption in enumerate(different)}
    unit: Tensor = functional.normalize(embedded, dim=1)[[places[caption] for caption in captions]]
    scaled: Tensor = unit * imagebind.config.dimension**0.5
    return scaled


def as_pictures(pixels: NDArray[np.uint8]) -> list[Image.Image]:
    """Pictures (n, height, width, 3) one by one."""
    return [Image.fromarray(one) for one in pixels]


def write(pipeline: Any, columns: Tensor, folder: Path) -> None:
    """The pipeline's folder with the columns beside its parts, all in float16."""
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.image_normalizer):
        part.half()
    with quiet():
        save(pipeline, folder)
    save_file({IMAGE_EDITING: columns.detach().half().contiguous()}, folder / EDITING, metadata={"format": "pt"})


def read_shipped(folder: Path = FOLDER) -> ImageDecoder:
    """The decoder that `train` wrote, in float32 and with its columns for editing; UsageError where it is not there."""
    return ImageDecoder.load(folder, torch.float32, editing=read_beside(folder / EDITING)[IMAGE_EDITING].float())


def mean(values: NDArray[np.float64]) -> Figure:
    """A mean with its normal 95 % interval."""
    value, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return Figure(value, value - half, value + half, len(values))


def _teacher(pipeline: Any) -> Teacher:
    with torch.no_grad():
        context = pipeline.encode_prompt(TAGS, "cpu", 1, do_classifier_free_guidance=False)[0]
    return Teacher(pipeline.unet, diffusion.ddim(pipeline.scheduler), pipeline.image_noising_scheduler, context)
