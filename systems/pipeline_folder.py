"""A diffusers pipeline's folder, read without torch: what it says it holds, and whether that is there.

The format is the hub's: `model_index.json` names the pipeline's class and, for each component, [library, class], with
one folder a component. Weights are safetensors or nothing; classes come from diffusers and transformers or from
nowhere, since a folder that brings its own code would run it. Components lie in the folder itself: a name that leads
out of it, or a linked folder (which the checkpoint's digest would not cover), is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError, one_line

JSON_CHARACTERS = 1 << 24
COMPONENT = r"[A-Za-z][A-Za-z0-9_]{0,99}"
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
    components = {name: value for name, value in _components(path, index) if name not in NEVER_LOADED}
    for name, (_, class_name) in components.items():
        _find_component(path, name)
        refuse_kernels(path / name)
        if "Tokenizer" in class_name:
            find_vocabulary(path / name)
    return PipelineFolder(path, pipeline, components, guarded="safety_checker" in index)


def _index(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise UsageError(f"no folder {path}; give a diffusers pipeline's folder, or a hub id as org/name@revision")
    file = path / "model_index.json"
    if not file.is_file():
        raise UsageError(f"{path}: model_index.json is missing, so this is no diffusers pipeline")
    return _read_object(file)


def _components(path: Path, index: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name and (library, class) of each entry that is a component; [null, null] says that there is none."""
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list | dict | str) or value == [None, None]:
            continue
        is_pair = isinstance(value, list) and [type(part) for part in value] == [str, str]
        if not (is_pair and re.fullmatch(COMPONENT, name)):
            raise UsageError(f"{path}: model_index.json: {name} is no component, a folder with [library, class]")
        yield name, (value[0], value[1])


def _read_object(file: Path) -> dict[str, Any]:
    try:
        with file.open(encoding="utf-8") as opened:
            said = json.loads(opened.read(JSON_CHARACTERS))
    except (ValueError, RecursionError, OSError) as error:
        raise UsageError(f"{file} is not JSON: {one_line(error)}") from error
    if not isinstance(said, dict):
        raise UsageError(f"{file} is not a JSON object")
    return said


def refuse_kernels(folder: Path) -> None:
    """transformers takes an attention's name with a slash for a repository of kernels, and would run what is there."""
    for file in sorted(folder.glob("*config*.json")):
        for key, value in _entries(_read_object(file)):
            if "attn_implementation" in key and "/" in str(value):
                raise UsageError(f"{file}: {key} names code of a hub, {value}, which is never loaded")


def _entries(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON object, those of the objects in it too."""
    for key, value in said.items():
        yield key, value
        if isinstance(value, dict):
            yield from _entries(value)


def _find_component(path: Path, name: str) -> None:
    folder = path / name
    if folder.is_symlink():
        raise UsageError(f"{folder}: a link to a folder; put the folder itself there")
    files = sorted(file for file in folder.glob("*") if file.is_file())
    if not files:
        raise UsageError(f"{path}: component {name} is missing (model_index.json names it, {name}/ holds no file)")
    suffixes = {file.suffix for file in files}
    pickled = [file for file in files if file.suffix in PICKLES]
    if pickled and ".safetensors" not in suffixes:
        raise UsageError(f"{pickled[0]}: pickled weights can run code and are refused; convert them to safetensors")


def find_vocabulary(folder: Path) -> None:
    """transformers builds a tokenizer without any vocabulary where the files are missing, and every word is unknown."""
    names = {file.name for file in folder.iterdir()}
    complete = "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= names or "vocab.txt" in names
    if not complete and not any(name.endswith(".model") for name in names):
        raise UsageError(f"{folder}: the vocabulary is missing (tokenizer.json, or vocab.json with merges.txt)")
