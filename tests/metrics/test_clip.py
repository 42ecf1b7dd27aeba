"""CLIP against its equations written out and against open_clip's network, in every format its weights come in.

`image_forward` and `text_forward` are openai/CLIP `clip/model.py` as plain arithmetic on the official key names; they
share nothing with the extractor.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from transformers import CLIPTokenizer

from harness.errors import UsageError
from harness.nouns import Media
from metrics.extractors.clip import CLIP, TINY, VITB32, Architecture, CLIPTiny
from metrics.tiny import checkpoints as tiny

Draw = Callable[..., tuple[Media, ...]]
TEXTS = ["a dog", "a photo of a backpack in the jungle", "", "hello " * 200, "A Café, 12 boots & it's  red!"]


def quick_gelu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x))


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def norm(state: dict[str, Tensor], x: Tensor, name: str) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    variance = (centered**2).mean(-1, keepdim=True)
    return centered / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def blocks(
    state: dict[str, Tensor],
    x: Tensor,
    prefix: str,
    layers: int,
    heads: int,
    mask: Tensor,
    act: Callable[[Tensor], Tensor],
) -> Tensor:
    rows, tokens, width = x.shape
    for layer in range(layers):
        name = f"{prefix}.{layer}"
        h = norm(state, x, f"{name}.ln_1") @ state[f"{name}.attn.in_proj_weight"].T + state[f"{name}.attn.in_proj_bias"]
        query, key, value = (part.reshape(rows, tokens, heads, -1).transpose(1, 2) for part in h.chunk(3, dim=-1))
        attention = torch.softmax(query @ key.transpose(-2, -1) / (width // heads) ** 0.5 + mask, dim=-1)
        h = (attention @ value).transpose(1, 2).reshape(rows, tokens, width)
        x = x + h @ state[f"{name}.attn.out_proj.weight"].T + state[f"{name}.attn.out_proj.bias"]
        h = norm(state, x, f"{name}.ln_2") @ state[f"{name}.mlp.c_fc.weight"].T + state[f"{name}.mlp.c_fc.bias"]
        x = x + act(h) @ state[f"{name}.mlp.c_proj.weight"].T + state[f"{name}.mlp.c_proj.bias"]
    return x


def image_forward(
    state: dict[str, Tensor], pixels: Tensor, shape: Architecture, act: Callable[[Tensor], Tensor] = quick_gelu
) -> NDArray[np.float32]:
    rows, width = len(pixels), shape.vision.width
    patch, across, count = shape.patch, 224 // shape.patch, 1 + (224 // shape.patch) ** 2
    squares = pixels.reshape(rows, 3, across, patch, across, patch).permute(0, 2, 4, 1, 3, 5)
    tokens = squares.reshape(rows, count - 1, -1) @ state["visual.conv1.weight"].reshape(width, -1).T
    x = torch.cat([state["visual.class_embedding"].expand(rows, 1, width), tokens], dim=1)
    x = norm(state, x + state["visual.positional_embedding"], "visual.ln_pre")
    layers, heads = shape.vision.layers, shape.vision.heads
    x = blocks(state, x, "visual.transformer.resblocks", layers, heads, torch.zeros(count, count), act)
    return (norm(state, x[:, 0], "visual.ln_post") @ state["visual.proj"]).numpy()


def text_forward(state: dict[str, Tensor], tokens: Tensor, shape: Architecture) -> NDArray[np.float32]:
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"]
    mask = torch.full((77, 77), float("-inf")).triu(1)
    x = blocks(state, x, "transformer.resblocks", shape.text.layers, shape.text.heads, mask, quick_gelu)
    end = norm(state, x, "ln_final")[torch.arange(len(tokens)), tokens.argmax(dim=-1)]
    return (end @ state["text_projection"]).numpy()


def published_pixels(rows: list[tuple[Media, ...]]) -> Tensor:
    """`clip.py`, through torchvision."""
    chain = transforms.Compose(
        [
            transforms.Resize(224, interpolation=InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    return torch.stack([chain(Image.open(media.uri)) for (media,) in rows])


def texts(*values: str) -> list[tuple[Media, ...]]:
    return [(Media("text", text=value),) for value in values]


def to_official(folder: Path, shape: Architecture) -> dict[str, Tensor]:
    """The weights of a hub folder under the official keys, written out one by one."""
    hub = load_file(folder / "model.safetensors")
    state = {
        "logit_scale": hub["logit_scale"],
        "token_embedding.weight": hub["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": hub["text_model.embeddings.position_embedding.weight"],
        "text_projection": hub["text_projection.weight"].T.contiguous(),
        "visual.class_embedding": hub["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": hub["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": hub["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": hub["visual_projection.weight"].T.contiguous(),
    }
    for kind in ("weight", "bias"):
        state[f"ln_final.{kind}"] = hub[f"text_model.final_layer_norm.{kind}"]
        state[f"visual.ln_pre.{kind}"] = hub[f"vision_model.pre_layrnorm.{kind}"]
        state[f"visual.ln_post.{kind}"] = hub[f"vision_model.post_layernorm.{kind}"]
    towers = (
        ("vision_model", "visual.transformer", shape.vision.layers),
        ("text_model", "transformer", shape.text.layers),
    )
    for model, tower, layers in towers:
        for layer in range(layers):
            theirs, ours = f"{model}.encoder.layers.{layer}", f"{tower}.resblocks.{layer}"
            for kind in ("weight", "bias"):
                fused = [hub[f"{theirs}.self_attn.{role}_proj.{kind}"] for role in "qkv"]
                state[f"{ours}.attn.in_proj_{kind}"] = torch.cat(fused)
                state[f"{ours}.attn.out_proj.{kind}"] = hub[f"{theirs}.self_attn.out_proj.{kind}"]
                state[f"{ours}.ln_1.{kind}"] = hub[f"{theirs}.layer_norm1.{kind}"]
                state[f"{ours}.ln_2.{kind}"] = hub[f"{theirs}.layer_norm2.{kind}"]
                state[f"{ours}.mlp.c_fc.{kind}"] = hub[f"{theirs}.mlp.fc1.{kind}"]
                state[f"{ours}.mlp.c_proj.{kind}"] = hub[f"{theirs}.mlp.fc2.{kind}"]
    return state


class Holder(torch.nn.Module):
    """A module that holds parameters under dotted names, so that a TorchScript archive can be made of them."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_torchscript(state: dict[str, Tensor], path: Path) -> None:
    """An archive as OpenAI's: half precision, and three integers among the tensors."""
    root = Holder()
    for key, tensor in state.items():
        *modules, name = key.split(".")
        holder: torch.nn.Module = root
        for module in modules:
            if not hasattr(holder, module):
                holder.add_module(module, Holder())
            holder = getattr(holder, module)
        holder.register_parameter(name, torch.nn.Parameter(tensor.half(), requires_grad=False))
    for name, value in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408)):
        root.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(root), str(path))


@pytest.fixture(scope="module")
def state(clip_folder: Path) -> dict[str, Tensor]:
    return to_official(clip_folder, TINY)


def test_images_get_the_embeddings_of_the_equations(clip_folder: Path, state: dict[str, Tensor], draw: Draw) -> None:
    rows = [draw(0), draw(1, 200, 500), draw(2, 700, 224)]
    found = CLIPTiny(str(clip_folder), "cpu").extract(rows)
    assert found.shape == (3, TINY.dim) and found.dtype == np.float32
    np.testing.assert_allclose(found, image_forward(state, published_pixels(rows), TINY), rtol=0, atol=1e-5)


def test_texts_get_the_embeddings_of_the_equations(clip_folder: Path, state: dict[str, Tensor]) -> None:
    found = CLIPTiny(str(clip_folder), "cpu").extract(texts(*TEXTS))
    expected = text_forward(state, open_clip.get_tokenizer("ViT-B-32-quickgelu")(TEXTS), TINY)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_activation_is_quick_gelu_and_not_gelu(clip_folder: Path, state: dict[str, Tensor], draw: Draw) -> None:
    # Wide weights, so that the two curves (at most 0.0203 apart) part visibly.
    wide = {key: 4 * tensor if "mlp.c_fc.weight" in key else tensor for key, tensor in state.items()}
    folder = clip_folder.parent / "wide.safetensors"
    save_file(wide, folder)
    pixels = published_pixels([draw(0)])
    found = CLIPTiny(str(folder), "cpu").extract([draw(0)])
    quick, exact = (image_forward(wide, pixels, TINY, act) for act in (quick_gelu, gelu))
    np.testing.assert_allclose(found, quick, rtol=0, atol=1e-5)
    assert np.abs(found - exact).max() > 1e-3


def test_every_file_format_gives_the_same_embeddings(
    clip_folder: Path, state: dict[str, Tensor], tmp_path: Path, draw: Draw
) -> None:
    rows = [draw(0), *texts("a red boot")]
    expected = CLIPTiny(str(clip_folder), "cpu").extract(rows)
    torch.save(state, tmp_path / "open_clip.pt")
    save_file(state, tmp_path / "open_clip.safetensors")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    old = load_file(clip_folder / "model.safetensors") | {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.position_ids": torch.arange(50)[None],
    }
    torch.save(old, tmp_path / "hub" / "pytorch_model.bin")
    for name in ("open_clip.pt", "open_clip.safetensors", "hub", "hub/pytorch_model.bin"):
        np.testing.assert_array_equal(CLIPTiny(str(tmp_path / name), "cpu").extract(rows), expected)


def test_the_official_torchscript_archive_is_read_and_computed_in_float32(
    state: dict[str, Tensor], tmp_path: Path, draw: Draw
) -> None:
    save_torchscript(state, tmp_path / "ViT.pt")
    extractor = CLIPTiny(str(tmp_path / "ViT.pt"), "cpu")
    assert {parameter.dtype for parameter in extractor.network.parameters()} == {torch.float32}
    halved = {key: tensor.half().float() for key, tensor in state.items()}
    expected = image_forward(halved, published_pixels([draw(0)]), TINY)
    np.testing.assert_allclose(extractor.extract([draw(0)]), expected, rtol=0, atol=1e-5)


def open_clip_network(shape: Architecture) -> open_clip.CLIP:
    vision = CLIPVisionCfg(
        layers=shape.vision.layers,
        width=shape.vision.width,
        head_width=shape.vision.width // shape.vision.heads,
        patch_size=shape.patch,
    )
    text = CLIPTextCfg(width=shape.text.width, heads=shape.text.heads, layers=shape.text.layers)
    return open_clip.CLIP(shape.dim, vision, text, quick_gelu=True).eval()


def test_open_clips_own_network_gives_the_same_embeddings(
    clip_folder: Path, state: dict[str, Tensor], draw: Draw
) -> None:
    network = open_clip_network(TINY)
    network.load_state_dict(state)
    with torch.inference_mode():
        image = network.encode_image(published_pixels([draw(0)])).numpy()
        text = network.encode_text(open_clip.get_tokenizer("ViT-B-32-quickgelu")(["a dog"])).numpy()
    found = CLIPTiny(str(clip_folder), "cpu").extract([draw(0), *texts("a dog")])
    np.testing.assert_allclose(found, np.concatenate([image, text]), rtol=0, atol=1e-5)


@pytest.mark.heavy
def test_the_full_size_network_gives_the_embeddings_of_the_equations_in_every_format(
    tmp_path: Path, draw: Draw
) -> None:
    tiny.write_clip(tmp_path / "hub", seed=0)
    full = to_official(tmp_path / "hub", VITB32)
    rows = [draw(0), *texts("a photo of a dog")]
    tokens = open_clip.get_tokenizer("ViT-B-32-quickgelu")(["a photo of a dog"])
    expected = np.concatenate(
        [image_forward(full, published_pixels(rows[:1]), VITB32), text_forward(full, tokens, VITB32)]
    )
    found = CLIP(str(tmp_path / "hub"), "cpu").extract(rows)
    assert found.shape == (2, 512)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    network = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    network.load_state_dict(full)
    with torch.inference_mode():
        image = network.eval().encode_image(published_pixels(rows[:1])).numpy()
    np.testing.assert_allclose(found[:1], image, rtol=0, atol=1e-5)
    save_torchscript(full, tmp_path / "ViT-B-32.pt")
    halved = {key: tensor.half().float() for key, tensor in full.items()}
    expected = image_forward(halved, published_pixels(rows[:1]), VITB32)
    found = CLIP(str(tmp_path / "ViT-B-32.pt"), "cpu").extract(rows[:1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_embeddings_are_projected_but_not_normalised(clip_folder: Path, draw: Draw) -> None:
    found = CLIPTiny(str(clip_folder), "cpu").extract([draw(0), *texts("a dog")])
    assert (np.abs(np.linalg.norm(found, axis=1) - 1) > 0.01).all()


def test_a_text_is_cut_at_77_tokens(clip_folder: Path) -> None:
    extractor = CLIPTiny(str(clip_folder), "cpu")
    cut, exact, shorter = extractor.extract(texts("hello " * 200, "hello " * 75, "hello " * 74))
    np.testing.assert_array_equal(cut, exact)
    assert np.abs(cut - shorter).max() > 1e-6


def test_images_and_texts_of_one_batch_keep_their_rows(clip_folder: Path, draw: Draw) -> None:
    extractor = CLIPTiny(str(clip_folder), "cpu")
    mixed = extractor.extract([*texts("a dog"), draw(0), *texts("a cat"), draw(1)])
    np.testing.assert_array_equal(mixed[[0, 2]], extractor.extract(texts("a dog", "a cat")))
    np.testing.assert_array_equal(mixed[[1, 3]], extractor.extract([draw(0), draw(1)]))


def test_a_row_does_not_depend_on_its_neighbours(clip_folder: Path, draw: Draw) -> None:
    extractor = CLIPTiny(str(clip_folder), "cpu")
    np.testing.assert_array_equal(extractor.extract([draw(0), draw(1)])[0], extractor.extract([draw(0), draw(2)])[0])
    long, short = (extractor.extract(texts("a dog", other))[0] for other in ("word " * 90, "x"))
    np.testing.assert_array_equal(long, short)
    np.testing.assert_allclose(extractor.extract(texts("a dog"))[0], long, rtol=0, atol=1e-5)


def test_sound_is_refused(clip_folder: Path) -> None:
    with pytest.raises(UsageError):
        CLIPTiny(str(clip_folder), "cpu").extract([(Media("audio", uri="dog.wav"),)])


def test_the_tokens_equal_those_of_transformers_with_the_same_vocabulary() -> None:
    ours = SimpleTokenizer(context_length=77)
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as lines:
        merges = lines.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    vocabulary = {token: index for token, index in ours.encoder.items() if index < 49406}
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    pairs: Any = [tuple(merge.split()) for merge in merges]
    theirs = CLIPTokenizer(vocab=vocabulary, merges=pairs)
    prompts = [*TEXTS, "a wet cat2 on top of the sidewalk in a crowded street", "a cube shaped (red) teapot -- 1990's"]
    for prompt in prompts:
        expected = theirs(prompt, truncation=True, max_length=77)["input_ids"]
        found = ours([prompt])[0]
        assert found[: len(expected)].tolist() == expected
        assert not found[len(expected) :].any()
