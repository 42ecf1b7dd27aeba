"""A state dict of the released code as a checkpoint's folder.

Microsoft's CoDi-2 was released as code without weights; these are the names that a model trained with it saves:

    llama_model.base_model.model.model.layers.{i}.self_attn.{q,k,v,o}_proj.lora_{A,B}.default.weight     kept
    codi_llama_proj.{0,2,3}.{weight,bias}, codi_llama_decode.{0,2,3}.{weight,bias}                       kept
    imagebind.*, image_diffuser.*, llama_model.* but for LoRA                                            left out

What is left out was frozen. It is taken from the backbones that are named, and trusted to be the same: nothing compares
them.

What the released code does not have, or does not say
- Tags. It marks an output with the words " <p>", and no token was added. The six tags get the mean of the language
  model's rows (docs/codi2.md, point 8): they can be read, and the model has never learned to say one. Ask such a
  checkpoint with tags=forced.
- LoRA's alpha, which is in no state dict and was not published. It must be said; a wrong one changes every answer.
- How it reads: all vectors of a picture (257), in the norms that its encoders leave them (a picture's class token 1, a
  sound 20, a text its learned scale), "### Human" and "### Assistant", no feature fed back, and a prediction that is
  the image decoder's embedding as it stands, which is scale 1.
- Decoders for sounds and videos, and editing: neither is in the released code, and a converted checkpoint has neither.
- Its sound head. An inserted layer renamed it in the released code, so that it ran with random weights; where the
  state dict has them (imagebind.modality_heads.audio.3.weight) it was trained to hear with those, and sounds, read here
  through the published head, will mean nothing to it.

Source: microsoft/i-Code at 9b16730, CoDi-2/core/models/mmllama/openllama.py.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import UsageError, one_line, warn
from harness.weights import checkpoint_path
from systems.codi2.backbones import digest_backbone, is_inside
from systems.codi2.checkpoint import (
    TAGS,
    TENSORS,
    Checkpoint,
    adapter_shapes,
    adapters_of,
    find_backbones,
    image_tokens,
    refuse_others,
    write_adapters,
)
from systems.codi2.description import FILE, Backbone, Description, Lora, Reading, write_description

WRAPPERS = ("state_dict", "module", "model")
# What DeepSpeed, data parallel training and Lightning put before every name.
PREFIX = re.compile(r"((module|_forward_module|model)\.)+")
LLAMA = r"llama_model\.base_model\.model\."
FROZEN = re.compile(
    r"imagebind\..+|image_diffuser\..+|"
    rf"{LLAMA}(lm_head|model\.embed_tokens|model\.norm)\.weight|"
    rf"{LLAMA}model\.layers\.\d+\.("
    r"self_attn\.[qkvo]_proj\.(base_layer\.)?weight|self_attn\.rotary_emb\.inv_freq|"
    r"mlp\.(gate|up|down)_proj\.weight|(input|post_attention)_layernorm\.weight)"
)
FIRST_LORA = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
RANDOM_SOUND_HEAD = "imagebind.modality_heads.audio.3.weight"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# Rows of an embedding that are averaged at a time.
ROWS = 4096


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the frozen models are: paths, or hub ids org/name@revision."""

    imagebind: str
    language_model: str
    image_decoder: str


def convert(file: Path, folder: Path, sources: Sources, alpha: float) -> None:
    """Writes the state dict in `file` as a checkpoint in `folder`, which is made.

    A backbone that lies in the folder is named by its place there, any other one by its own and its digest. Raises
    UsageError naming the file and its first key that is unknown, missing or misshapen; nothing is written then.
    """
    for name in (FILE, TENSORS):
        if (folder / name).exists():
            raise UsageError(f"{folder / name} is there already; name a new folder for the checkpoint")
    _refuse_unwritable(folder)
    state = read_state_dict(file)
    if RANDOM_SOUND_HEAD in state:
        warn(f"{file}: its sound head has random weights; the checkpoint will not hear as it was trained to")
    checkpoint = find_backbones(folder, _describe(folder, sources, Lora(_rank(file, state), alpha)))
    tensors = _trained(file, state, checkpoint)
    tensors["tags.input_embeddings"] = _tags(checkpoint.language_model, "model.embed_tokens.weight")
    tensors["tags.output_embeddings"] = _tags(checkpoint.language_model, "lm_head.weight")
    folder.mkdir(parents=True, exist_ok=True)
    write_adapters(folder, adapters_of(tensors))
    write_description(folder, checkpoint.description)


def _refuse_unwritable(folder: Path) -> None:
    """Before minutes of reading, not after."""
    above = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise UsageError(f"{folder}: no folder can be made there, {above} is none that can be written to")


def read_state_dict(file: Path) -> dict[str, Any]:
    """What a state dict holds, by the names of the released class: without wrappers and prefixes.

    Raises UsageError for a file that is no safetensors file, nor a torch file of plain tensors.
    """
    if not file.is_file():
        wrong = "a folder" if file.is_dir() else "no such file"
        raise UsageError(f"{file}: {wrong}; give a state dict (.pt, .pth, .bin, .safetensors)")
    try:
        said: Any = load_file(file) if file.suffix == ".safetensors" else _load_torch(file)
    except pickle.UnpicklingError as error:
        # PyTorch's own message recommends weights_only=False, which runs whatever code the file holds.
        raise UsageError(
            f"{file}: holds more than plain tensors, which is never loaded; save the state dict"
        ) from error
    except Exception as error:  # PyTorch's, pickle's and safetensors' readers raise nearly anything on damaged files
        raise UsageError(f"{file}: no readable file of tensors: {one_line(error)}") from error
    if isinstance(said, Mapping):
        said = next((said[name] for name in WRAPPERS if isinstance(said.get(name), Mapping)), said)
    if not isinstance(said, Mapping) or not all(isinstance(key, str) for key in said):
        raise UsageError(f"{file}: no state dict; names with tensors would do")
    return {PREFIX.sub("", key, count=1) if PREFIX.match(key) else key: value for key, value in said.items()}


def _load_torch(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pickle of another protocol is about to be refused anyway
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _rank(file: Path, state: Mapping[str, Any]) -> int:
    down = state.get(FIRST_LORA)
    if not isinstance(down, Tensor) or down.ndim != 2:
        raise UsageError(f"{file}: {FIRST_LORA} is not there; a CoDi-2 of the released code has it")
    return len(down)


def _describe(folder: Path, sources: Sources, lora: Lora) -> Description:
    return Description(
        imagebind=_backbone(folder, sources.imagebind),
        language_model=_backbone(folder, sources.language_model),
        image_decoder=_backbone(folder, sources.image_decoder),
        lora=lora,
        reading=Reading(
            image_tokens=image_tokens(Path(checkpoint_path(sources.imagebind))),
            input_norms="released",
            prompt_style="human-assistant",
            feedback=False,
            feature_scale=1.0,
        ),
    )


def _backbone(folder: Path, source: str) -> Backbone:
    path = Path(checkpoint_path(source))
    if not Path(source).expanduser().exists():
        return Backbone(source, digest_backbone(path))
    if path.is_relative_to(folder.resolve()):
        place = path.relative_to(folder.resolve()).as_posix()
        if is_inside(folder, place):
            return Backbone(place)
    return Backbone(str(path), digest_backbone(path))


def _trained(file: Path, state: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors of codi2.safetensors that a state dict has, by their keys there."""
    shapes = adapter_shapes(checkpoint.widths, checkpoint.features, checkpoint.description.lora)
    names = {_released(key): key for key in shapes if not key.startswith("tags.")}
    kept = {name: value for name, value in state.items() if not FROZEN.fullmatch(name)}
    for name, value in kept.items():
        if not _is_plain(value):
            raise UsageError(f"{file}: {name} is no plain tensor of floating point numbers")
    refuse_others(
        file, {name: shapes[key] for name, key in names.items()}, {n: tuple(t.shape) for n, t in kept.items()}
    )
    for name, tensor in kept.items():
        if not bool(tensor.isfinite().all()):
            raise UsageError(f"{file}: {name} holds NaN or infinity; take an earlier state dict")
    return {key: kept[name] for name, key in names.items()}


def _released(key: str) -> str:
    """The name that the released code has for a key of codi2.safetensors."""
    part, _, rest = key.partition(".")
    if part == "lora":
        return f"llama_model.base_model.model.{rest.removesuffix('weight')}default.weight"
    return f"{'codi_llama_proj' if part == 'input_projector' else 'codi_llama_decode'}.{rest}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.dtype in FLOATS


def _tags(language_model: Path, key: str) -> Tensor:
    """Six times the mean row of an embedding, float32."""
    for file in sorted(language_model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            if key in opened.keys():  # noqa: SIM118, it is no dict
                rows = opened.get_slice(key)
                count, width = rows.get_shape()
                total = torch.zeros(width, dtype=torch.float64)
                for start in range(0, count, ROWS):
                    total += rows[start : start + ROWS].double().sum(0)
                mean: Tensor = total.float() / count
                return mean.expand(len(TAGS), -1)
    raise UsageError(f"{language_model}: no safetensors file there has {key}, which the tags begin as the mean of")
