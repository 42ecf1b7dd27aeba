"""DINO against its equations written out, in every format its weights come in.

`official_forward` is vision_transformer.py (facebookresearch/dino) as plain arithmetic on the official key names; it
shares nothing with the extractor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from transformers import ViTModel

from harness.nouns import Media
from metrics.extractors.dino import DINO, TINY, VITS16, Architecture, DINOTiny
from metrics.tiny import checkpoints as tiny

Draw = Callable[..., tuple[Media, ...]]


def official_state(seed: int, architecture: Architecture) -> dict[str, Tensor]:
    """Random weights under the keys and shapes of dino_deitsmall16_pretrain.pth."""
    width, generator = architecture.width, torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + (224 // architecture.patch) ** 2, width),
        "patch_embed.proj.weight": (width, 3, architecture.patch, architecture.patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(architecture.layers):
        shapes |= {
            f"blocks.{block}.norm1.weight": (width,),
            f"blocks.{block}.norm1.bias": (width,),
            f"blocks.{block}.attn.qkv.weight": (3 * width, width),
            f"blocks.{block}.attn.qkv.bias": (3 * width,),
            f"blocks.{block}.attn.proj.weight": (width, width),
            f"blocks.{block}.attn.proj.bias": (width,),
            f"blocks.{block}.norm2.weight": (width,),
            f"blocks.{block}.norm2.bias": (width,),
            f"blocks.{block}.mlp.fc1.weight": (4 * width, width),
            f"blocks.{block}.mlp.fc1.bias": (4 * width,),
            f"blocks.{block}.mlp.fc2.weight": (width, 4 * width),
            f"blocks.{block}.mlp.fc2.bias": (width,),
        }
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return {key: 0.05 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def official_forward(state: dict[str, Tensor], pixels: Tensor, layers: int, heads: int) -> NDArray[np.float32]:
    def norm(x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        variance = (centered**2).mean(-1, keepdim=True)
        return centered / torch.sqrt(variance + 1e-6) * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    batch, width = len(pixels), state["cls_token"].shape[-1]
    # Patches, each flattened channel by channel: the convolution with its own size as stride, as a matrix product.
    patch = state["patch_embed.proj.weight"].shape[-1]
    across, count = 224 // patch, 1 + (224 // patch) ** 2
    squares = pixels.reshape(batch, 3, across, patch, across, patch).permute(0, 2, 4, 1, 3, 5)
    patches = squares.reshape(batch, count - 1, 3 * patch * patch)
    kernel = state["patch_embed.proj.weight"].reshape(width, -1)
    tokens = patches @ kernel.T + state["patch_embed.proj.bias"]
    x = torch.cat([state["cls_token"].expand(batch, -1, -1), tokens], dim=1) + state["pos_embed"]
    for block in range(layers):
        name = f"blocks.{block}"
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv").reshape(batch, count, 3, heads, width // heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attention = torch.softmax(query @ key.transpose(-2, -1) / (width // heads) ** 0.5, dim=-1)
        x = x + linear((attention @ value).transpose(1, 2).reshape(batch, count, width), f"{name}.attn.proj")
        hidden = linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(gelu, f"{name}.mlp.fc2")
    return norm(x, "norm")[:, 0].numpy()


def published_pixels(rows: list[tuple[Media, ...]]) -> Tensor:
    """`eval_knn.py`, through torchvision."""
    chain = transforms.Compose(
        [
            transforms.Resize(256, interpolation=InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return torch.stack([chain(Image.open(media.uri)) for (media,) in rows])


def to_official(folder: Path, layers: int) -> dict[str, Tensor]:
    """The weights of a hub folder under the official keys, written out one by one."""
    hub = load_file(folder / "model.safetensors")
    state = {
        "cls_token": hub["embeddings.cls_token"],
        "pos_embed": hub["embeddings.position_embeddings"],
        "patch_embed.proj.weight": hub["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": hub["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": hub["layernorm.weight"],
        "norm.bias": hub["layernorm.bias"],
    }
    for layer in range(layers):
        theirs, ours = f"encoder.layer.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            fused = [hub[f"{theirs}.attention.attention.{role}.{kind}"] for role in ("query", "key", "value")]
            state[f"{ours}.attn.qkv.{kind}"] = torch.cat(fused)
            state[f"{ours}.attn.proj.{kind}"] = hub[f"{theirs}.attention.output.dense.{kind}"]
            state[f"{ours}.norm1.{kind}"] = hub[f"{theirs}.layernorm_before.{kind}"]
            state[f"{ours}.norm2.{kind}"] = hub[f"{theirs}.layernorm_after.{kind}"]
            state[f"{ours}.mlp.fc1.{kind}"] = hub[f"{theirs}.intermediate.dense.{kind}"]
            state[f"{ours}.mlp.fc2.{kind}"] = hub[f"{theirs}.output.dense.{kind}"]
    return state


def test_the_official_file_gives_the_features_of_the_equations(tmp_path: Path, draw: Draw) -> None:
    state = official_state(0, TINY)
    torch.save(state, tmp_path / "official.pth")
    rows = [draw(0), draw(1, 200, 500), draw(2, 700, 224)]
    expected = official_forward(state, published_pixels(rows), TINY.layers, TINY.heads)
    found = DINOTiny(str(tmp_path / "official.pth"), "cpu").extract(rows)
    assert found.shape == (3, TINY.width) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.heavy
def test_the_full_size_official_file_gives_the_features_of_the_equations(tmp_path: Path, draw: Draw) -> None:
    state = official_state(0, VITS16)
    torch.save(state, tmp_path / "official.pth")
    rows = [draw(0), draw(1)]
    expected = official_forward(state, published_pixels(rows), 12, 6)
    found = DINO(str(tmp_path / "official.pth"), "cpu").extract(rows)
    assert found.shape == (2, 384)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.heavy
def test_the_full_size_folder_of_init_and_its_official_form_give_equal_features(tmp_path: Path, draw: Draw) -> None:
    tiny.write_dino(tmp_path / "hub", seed=0)
    torch.save(to_official(tmp_path / "hub", 12), tmp_path / "official.pth")
    rows = [draw(0), draw(1)]
    folder, file = (DINO(str(tmp_path / name), "cpu").extract(rows) for name in ("hub", "official.pth"))
    np.testing.assert_array_equal(folder, file)


def test_the_hub_folder_and_the_official_file_give_equal_features(
    dino_folder: Path, tmp_path: Path, draw: Draw
) -> None:
    official = to_official(dino_folder, TINY.layers)
    torch.save(official, tmp_path / "official.pth")
    save_file(official, tmp_path / "official.safetensors")
    rows = [draw(0), draw(1)]
    expected = DINOTiny(str(dino_folder), "cpu").extract(rows)
    for name in ("official.pth", "official.safetensors"):
        np.testing.assert_array_equal(DINOTiny(str(tmp_path / name), "cpu").extract(rows), expected)
    np.testing.assert_array_equal(DINOTiny(str(dino_folder / "model.safetensors"), "cpu").extract(rows), expected)
    written_out = official_forward(official, published_pixels(rows), TINY.layers, TINY.heads)
    np.testing.assert_allclose(expected, written_out, rtol=0, atol=1e-5)


def test_a_pytorch_model_bin_of_the_hub_is_read(dino_folder: Path, tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "config.json").write_bytes((dino_folder / "config.json").read_bytes())
    torch.save(load_file(dino_folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    expected = DINOTiny(str(dino_folder), "cpu").extract([draw(0)])
    np.testing.assert_array_equal(DINOTiny(str(tmp_path), "cpu").extract([draw(0)]), expected)


def test_the_feature_is_the_class_token_and_a_pooler_plays_no_part(
    dino_folder: Path, tmp_path: Path, draw: Draw
) -> None:
    with_pooler = load_file(dino_folder / "model.safetensors")
    with_pooler["pooler.dense.weight"] = torch.randn(TINY.width, TINY.width)
    with_pooler["pooler.dense.bias"] = torch.randn(TINY.width)
    save_file(with_pooler, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((dino_folder / "config.json").read_bytes())
    network = ViTModel.from_pretrained(tmp_path)
    with torch.inference_mode():
        reference = network(published_pixels([draw(0)]))
    found = DINOTiny(str(tmp_path), "cpu").extract([draw(0)])
    np.testing.assert_allclose(found, reference.last_hidden_state[:, 0].numpy(), rtol=0, atol=1e-5)
    assert np.abs(found - reference.pooler_output.numpy()).max() > 0.1


def test_features_are_not_normalised(dino_folder: Path, draw: Draw) -> None:
    lengths = np.linalg.norm(DINOTiny(str(dino_folder), "cpu").extract([draw(0), draw(1)]), axis=1)
    assert (np.abs(lengths - 1) > 0.5).all()


def test_half_precision_files_are_computed_in_float32(tmp_path: Path, draw: Draw) -> None:
    halves = {key: tensor.half() for key, tensor in official_state(0, TINY).items()}
    torch.save(halves, tmp_path / "half.pth")
    rows = [draw(0), draw(1)]
    extractor = DINOTiny(str(tmp_path / "half.pth"), "cpu")
    assert {parameter.dtype for parameter in extractor.network.parameters()} == {torch.float32}
    full = {key: tensor.float() for key, tensor in halves.items()}
    expected = official_forward(full, published_pixels(rows), TINY.layers, TINY.heads)
    np.testing.assert_allclose(extractor.extract(rows), expected, rtol=0, atol=1e-5)


def test_the_network_never_sees_gradients_or_reduced_precision(dino_folder: Path, draw: Draw) -> None:
    extractor, seen = DINOTiny(str(dino_folder), "cpu"), []

    def look(*_: object) -> None:
        seen.append((torch.is_inference_mode_enabled(), torch.get_float32_matmul_precision(),
                     torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))  # fmt: skip

    extractor.network.register_forward_pre_hook(look)
    torch.set_float32_matmul_precision("high")
    try:
        extractor.extract([draw(0)])
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [(True, "highest", False, False)]
    assert not extractor.network.training


def test_a_row_does_not_depend_on_its_neighbours(dino_folder: Path, draw: Draw) -> None:
    extractor = DINOTiny(str(dino_folder), "cpu")
    one = extractor.extract([draw(0), draw(1), draw(2)])[0]
    other = extractor.extract([draw(0), draw(3), draw(4, 100, 900)])[0]
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(extractor.extract([draw(0)])[0], one, rtol=0, atol=1e-5)


def test_the_border_that_the_crop_drops_does_not_matter(dino_folder: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    framed = np.zeros_like(pixels)
    framed[16:-16, 16:-16] = pixels[16:-16, 16:-16]
    rows = []
    for name, image in (("plain", pixels), ("framed", framed)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        rows.append((Media("image", uri=str(tmp_path / f"{name}.png")),))
    plain, changed = DINOTiny(str(dino_folder), "cpu").extract(rows)
    np.testing.assert_array_equal(plain, changed)
