"""An ImageBind out of its checkpoint, key by key, and into one.

The official weights, imagebind_huge.pth (https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth, 4.8 GB), are for
non-commercial use only: their LICENSE file and model card say CC BY-NC-SA 4.0, their README says CC BY-NC 4.0.
Whatever is made with them is bound by that.

No weight is ever left at random: a key that is missing, unexpected or of another shape is an error. (CoDi-2's released
code loads leniently; an inserted layer renamed the sound head's Linear there, and it ran with random numbers.)
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import UsageError, one_line
from systems.imagebind.config import (
    CONFIG_FILE,
    HUGE,
    MODALITIES,
    PERCEIVED,
    ImageBindConfig,
    config_to_json,
    read_config,
)
from systems.imagebind.model import ImageBind, causal_mask

WEIGHTS_FILE = "model.safetensors"
OFFICIAL_FILE = "imagebind_huge.pth"


def load(path: Path, dtype: torch.dtype = torch.float32, modalities: Iterable[str] = PERCEIVED) -> ImageBind:
    """The towers of `modalities`, on the CPU, in `dtype` (their scales in float32), frozen.

    `path` is as `locate` takes it. Weights of other modalities are left unread.

    Raises UsageError naming the file and the first wrong keys and shapes, and for weights that are not finite.
    """
    file, sizes = locate(path)
    with torch.device("meta"):
        model = ImageBind(sizes.only(modalities))
    _pour(model, _read(file, others=set(MODALITIES) - set(model.config.towers())), file, dtype)
    return model.requires_grad_(False)


def locate(path: Path) -> tuple[Path, ImageBindConfig]:
    """The file that holds the tensors of a checkpoint, and the sizes that they have.

    `path` is the official file (imagebind_huge.pth, or the same tensors as safetensors), a folder that holds it, or a
    folder of any size, config.json with model.safetensors. Raises UsageError where the file is not there.
    """
    file, sizes = path, HUGE
    if (path / CONFIG_FILE).is_file():
        file, sizes = path / WEIGHTS_FILE, read_config(path / CONFIG_FILE)
    elif path.is_dir():
        file = path / OFFICIAL_FILE
    if not file.is_file():
        raise UsageError(
            f"{file}: no such file; an ImageBind is {OFFICIAL_FILE}, or a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    return file, sizes


def save(model: ImageBind, folder: Path) -> None:
    """Writes config.json and model.safetensors, the keys being the official ones; `folder` is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config_to_json(model.config), encoding="utf-8")
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def _pour(model: ImageBind, state: Mapping[str, Tensor], file: Path, dtype: torch.dtype) -> None:
    """Puts the tensors in the place of the model's own, which need hold no numbers."""
    expected = model.state_dict()
    _check_keys(expected, state, file)
    tensors = {}
    for key, tensor in state.items():
        scale = key.endswith("log_logit_scale")
        tensors[key] = tensor.to(torch.float32 if scale else dtype, copy=True)
        _check_values(key, tensors[key], file)
    model.load_state_dict(tensors, strict=True, assign=True)


def _check_keys(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], file: Path) -> None:
    wrong = [
        _some("missing", [key for key in expected if key not in state]),
        _some("unexpected", [key for key in state if key not in expected]),
        _some("misshapen", [_shapes(key, expected, state) for key in expected if _misshapen(key, expected, state)]),
    ]
    if any(wrong):
        raise UsageError(f"{file}: not the weights of this ImageBind: {'; '.join(filter(None, wrong))}")


def _some(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} {kind} (first: {keys[0]})" if keys else ""


def _misshapen(key: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    return key in state and state[key].shape != expected[key].shape


def _shapes(key: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    return f"{key}: {tuple(expected[key].shape)} expected, {tuple(state[key].shape)} found"


def _check_values(key: str, tensor: Tensor, file: Path) -> None:
    if key.endswith(".mask"):
        if not torch.equal(tensor, causal_mask(len(tensor)).to(tensor.dtype)):
            raise UsageError(f"{file}: {key} is not the causal mask; the file is damaged")
    elif not torch.isfinite(tensor).all():
        raise UsageError(f"{file}: {key} holds NaN or infinite values in {tensor.dtype}; the file is damaged")


def _read(file: Path, others: set[str]) -> dict[str, Tensor]:
    """The tensors of a file, without those of other modalities."""
    dropped = re.compile(rf"modality_(preprocessors|trunks|heads|postprocessors)\.({'|'.join(others) or '(?!)'})\.")
    try:
        state = _read_safetensors(file, dropped) if file.suffix == ".safetensors" else _read_torch(file, dropped)
    except pickle.UnpicklingError as error:
        # PyTorch's own message recommends weights_only=False, which runs whatever code the file holds.
        raise UsageError(f"{file}: no torch file of plain tensors; Python objects are never loaded") from error
    except Exception as error:  # PyTorch's, pickle's and safetensors' readers raise nearly anything on damaged files
        raise UsageError(f"{file}: no readable file of tensors ({one_line(error)})") from error
    for key, tensor in state.items():
        if not _is_plain(tensor):
            raise UsageError(f"{file}: {key} is no plain tensor of floating point numbers; save the state_dict alone")
    return state


def _is_plain(tensor: object) -> bool:
    """Whether it is real numbers in memory, and not a sparse or empty-handed (meta) tensor."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return False
    return (tensor.layout, tensor.device.type) == (torch.strided, "cpu")


def _read_safetensors(file: Path, dropped: re.Pattern[str]) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as opened:
        names: list[str] = opened.keys()
        return {key: opened.get_tensor(key) for key in names if not dropped.match(key)}


def _read_torch(file: Path, dropped: re.Pattern[str]) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pickle of another protocol is about to be refused anyway
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ValueError("not a dictionary of tensors; save the network's state_dict alone")
    return {key: tensor for key, tensor in state.items() if not dropped.match(key)}
