"""A CoDi-2 checkpoint's folder: read back as written, and refused in one line for whatever is wrong with it."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from codi2_folders import complaint, reconfigure, retensor, rewrite
from safetensors.torch import load_file

from harness.errors import UsageError
from systems.codi2.checkpoint import TENSORS, adapter_shapes, read_adapters, read_checkpoint, write_adapters
from systems.codi2.description import FILE, LARGEST_SCALE, Reading, read_description, write_description


@pytest.fixture
def folder(codi2_tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copytree(codi2_tiny, tmp_path / "checkpoint"))


def test_what_is_written_is_read_back(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    trained = read_adapters(checkpoint)
    write_adapters(folder, trained)
    write_description(folder, checkpoint.description)
    assert read_description(folder) == checkpoint.description
    again = read_adapters(read_checkpoint(folder))
    for before, after in (
        (trained.lora, again.lora),
        (trained.input_projector, again.input_projector),
        (trained.output_projector, again.output_projector),
    ):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(trained.input_embeddings, again.input_embeddings)
    assert torch.equal(trained.output_embeddings, again.output_embeddings)


def test_matrices_that_are_one_tensor_are_written_apart(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    trained = read_adapters(checkpoint)
    write_adapters(folder, replace(trained, output_embeddings=trained.input_embeddings))
    assert torch.equal(read_adapters(checkpoint).output_embeddings, trained.input_embeddings)


def test_half_precision_is_read_as_float32(folder: Path) -> None:
    before = load_file(folder / TENSORS)
    retensor(folder, lambda tensors: tensors.update({key: one.bfloat16() for key, one in tensors.items()}))
    after = read_adapters(read_checkpoint(folder)).input_projector["3.weight"]
    assert after.dtype == torch.float32
    assert torch.equal(after, before["input_projector.3.weight"].bfloat16().float())


def test_the_shapes_follow_grouped_heads_and_their_own_width(folder: Path) -> None:
    reconfigure(folder / "language_model" / "config.json", num_key_value_heads=2, head_dim=64)
    checkpoint = read_checkpoint(folder)
    shapes = adapter_shapes(checkpoint.widths, checkpoint.features, checkpoint.description.lora)
    prefix = "lora.model.layers.1.self_attn"
    assert shapes[f"{prefix}.q_proj.lora_B.weight"] == (4 * 64, 8)
    assert shapes[f"{prefix}.k_proj.lora_B.weight"] == (2 * 64, 8)
    assert shapes[f"{prefix}.o_proj.lora_A.weight"] == (8, 4 * 64)


def test_the_driver_checks_without_torch(codi2_tiny: Path, repository: Path) -> None:
    script = (
        "import sys; from systems.codi2.checkpoint import check; check(sys.argv[1], [], 1); "
        "print(sorted({'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(codi2_tiny)], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


FIRST = "lora.model.layers.0.self_attn.q_proj.lora_A.weight"


def test_missing_unexpected_and_misshapen_tensors_are_named_with_their_shapes(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for key in (FIRST, "tags.input_embeddings"):
            del tensors[key]
        tensors["zeta"], tensors["alpha.weight"] = torch.zeros(1), torch.zeros(2, 3)
        tensors["output_projector.0.bias"] = torch.zeros(7)

    retensor(folder, change)
    said = complaint(folder)
    assert said.startswith(f"{folder / TENSORS}: ")
    assert f"2 missing (first: {FIRST} (8, 128))" in said
    assert "2 unexpected (first: alpha.weight (2, 3))" in said
    assert "1 misshapen (first: output_projector.0.bias is (7,) where (64,) is expected)" in said


def test_another_rank_than_is_said_is_refused(folder: Path) -> None:
    rewrite(folder, "lora", rank=16)
    assert f"32 misshapen (first: {FIRST} is (8, 128) where (16, 128) is expected)" in complaint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_when_the_tensors_are_read(folder: Path, value: float) -> None:
    retensor(folder, lambda tensors: tensors["output_projector.3.weight"][5].fill_(value))
    with pytest.raises(UsageError, match=r"codi2\.safetensors: output_projector\.3\.weight holds NaN or infinity"):
        read_adapters(read_checkpoint(folder))


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    retensor(folder, lambda tensors: tensors.update({FIRST: tensors[FIRST].to(torch.int8)}))
    assert f"{FIRST} is I8; F32, F16, BF16 would do" in complaint(folder)


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": print}))


def _endless_header(file: Path) -> None:
    file.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [_truncate, _pickle, _endless_header, _pipe, Path.unlink])
def test_a_damaged_file_of_tensors_is_one_line(folder: Path, damage: Callable[[Path], Any]) -> None:
    damage(folder / TENSORS)
    assert TENSORS in complaint(folder)


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("imagebind", {"source": 3}, "imagebind: source is int, str expected"),
        ("imagebind", {"source": ""}, "imagebind: source is no name"),
        ("imagebind", {"source": "a\nb"}, "imagebind: source is no name"),
        ("imagebind", {"source": "x" * 2000}, "imagebind: source is no name"),
        ("imagebind", {"source": "x" * 1000}, "nothing is at"),
        ("imagebind", {"digest": "abc"}, "imagebind: digest is no SHA-256"),
        (
            "image_decoder",
            {"revision": "main"},
            "image_decoder: it has a field 'revision', which is unknown; its fields are source, digest",
        ),
        ("lora", {"alpha": ...}, "lora: it has no field 'alpha'"),
        ("lora", {"rank": 0}, "lora: rank is 0"),
        ("lora", {"rank": 8.0}, "lora: rank is float, int expected"),
        ("lora", {"alpha": float("nan")}, "lora: alpha is float, float expected"),
        ("lora", {"alpha": -1}, "lora: alpha is -1"),
        ("reading", {"image_tokens": 16}, "reading: image_tokens is 16; of this ImageBind 1 or 17 would do"),
        ("reading", {"image_tokens": 0}, "reading: image_tokens is 0"),
        ("reading", {"input_norms": "none"}, "reading: input_norms is 'none'; unit or released would do"),
        ("reading", {"prompt_style": "vicuna"}, "prompt_style is 'vicuna'; llama2-chat or human-assistant would do"),
        ("reading", {"feedback": 1}, "reading: feedback is int, bool expected"),
        ("reading", {"feature_scale": 0}, "reading: feature_scale is 0"),
        ("reading", {"feature_scale": 1e300}, "reading: feature_scale is 1e+300"),
    ],
)
def test_what_is_wrong_in_the_description_is_named(folder: Path, section: str, changes: Any, said: str) -> None:
    rewrite(folder, section, **changes)
    assert f"{folder / FILE}: " in complaint(folder)
    assert said in complaint(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON: nested too deeply"),
        ("[]", "is not a JSON object"),
        ("\ufeff{}", "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ("{}", '"format": "anybench-codi2" is expected'),
        ('{"format": "anybench-codi2", "version": 2}', '"version": 1 is expected'),
        ('{"format": "anybench-codi2", "version": true}', '"version": 1 is expected'),
        ('{"format": "anybench-codi2", "version": 1}', "imagebind is missing; it holds source, digest"),
        ('{"format": "anybench-codi2", "version": 1, "notes": 1}', "'notes' is no key of it"),
        (" " * (1 << 21) + "{}", "is over the limit of 1,048,576 characters"),
    ],
)
def test_a_description_that_is_none_is_one_line(folder: Path, text: str, said: str) -> None:
    (folder / FILE).write_text(text, "utf-8")
    assert said in complaint(folder)


def test_a_folder_without_a_description_is_no_checkpoint(tmp_path: Path) -> None:
    assert "codi2.json is missing, so this is no CoDi-2 checkpoint" in complaint(tmp_path)
    assert f"no folder {tmp_path / 'nowhere'}" in complaint(tmp_path / "nowhere")


def test_a_reading_out_of_range_cannot_be_made_either() -> None:
    with pytest.raises(UsageError, match="feature_scale"):
        Reading(257, "unit", "llama2-chat", True, 2 * LARGEST_SCALE)
    with pytest.raises(UsageError, match="image_tokens"):
        Reading(0, "unit", "llama2-chat", True, 1.0)
