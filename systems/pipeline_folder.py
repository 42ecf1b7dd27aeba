"""A diffusers pipeline's folder, read without torch: what it says it holds, and whether that is there.

The format is the hub's: `model_index.json` names the pipeline's class and, for each component, [library, class], with
one folder a component. Weights are safetensors or nothing; classes come from diffusers and transformers or from
nowhere, since a folder that brings its own code would run it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError

PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
NEVER_LOADED = frozenset({"safety_checker"})


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """What `model_index.json` says: the pipeline's class, and (library, class) of each component that is present.

    `guarded` says that the pipeline comes with a safety checker, which is in `NEVER_LOADED` and not in `components`.
    """

    path: Path
    pipeline: str
    components: Mapping[str, tuple[str, str]]
    guarded: bool


def read_pipeline_folder(path: Path) -> PipelineFolder:
    """Reads the index and looks for every component.

    Raises UsageError naming the folder and the first thing that is wrong: no index, classes of its own, a missing
    component, pickled weights without safetensors beside them.
    """
    index = _index(path)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise UsageError(f"{path}: model_index.json names no class of diffusers in _class_name; code is never loaded")
    components = {name: (value[0], value[1]) for name, value in index.items() if _is_component(name, value)}
    for name, (_, class_name) in components.items():
        _find_component(path, name)
        if "Tokenizer" in class_name:
            _find_vocabulary(path / name)
    return PipelineFolder(path, pipeline, components, guarded="safety_checker" in index)


def _index(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise UsageError(f"no folder {path}; give a diffusers pipeline's folder, or a hub id as org/name@revision")
    file = path / "model_index.json"
    if not file.is_file():
        raise UsageError(f"{path}: model_index.json is missing, so this is no diffusers pipeline")
    try:
        index = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    if not isinstance(index, dict):
        raise UsageError(f"{file} is not a JSON object")
    return index


def _is_component(name: str, value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)
    return is_pair and not name.startswith("_") and name not in NEVER_LOADED


def _find_component(path: Path, name: str) -> None:
    folder = path / name
    files = sorted(file for file in folder.glob("*") if file.is_file())
    if not files:
        raise UsageError(f"{path}: component {name} is missing (model_index.json names it, {name}/ holds no file)")
    suffixes = {file.suffix for file in files}
    pickled = [file for file in files if file.suffix in PICKLES]
    if pickled and ".safetensors" not in suffixes:
        raise UsageError(f"{pickled[0]}: pickled weights can run code and are refused; convert them to safetensors")


def _find_vocabulary(folder: Path) -> None:
    """transformers builds a tokenizer without any vocabulary where the files are missing, and every word is unknown."""
    names = {file.name for file in folder.iterdir()}
    complete = "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= names or "vocab.txt" in names
    if not complete and not any(name.endswith(".model") for name in names):
        raise UsageError(f"{folder}: the vocabulary is missing (tokenizer.json, or vocab.json with merges.txt)")
