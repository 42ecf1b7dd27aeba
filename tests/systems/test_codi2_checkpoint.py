"""A CoDi-2 checkpoint's folder: read back as written, and refused in one line for whatever is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import AbsentError, UsageError
from harness.identity import digest_tree
from harness.weights import ask_nobody, checkpoint_path
from systems.codi2 import description
from systems.codi2.backbones import digest_backbone, is_inside
from systems.codi2.checkpoint import TENSORS, adapter_shapes, check, read_adapters, read_checkpoint, write_adapters
from systems.codi2.description import FILE, Reading, read_description, write_description

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(codi2_tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copytree(codi2_tiny, tmp_path / "checkpoint"))


def rewrite(folder: Path, section: str, **changes: Any) -> None:
    said = json.loads((folder / FILE).read_text())
    said[section] = {key: value for key, value in (said[section] | changes).items() if value is not ...}
    (folder / FILE).write_text(json.dumps(said))


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)


def reconfigure(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def complaint(folder: Path) -> str:
    """What the driver says of a checkpoint, which is one line."""
    with pytest.raises(UsageError) as caught:
        check(str(folder), [], 1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_half_precision_is_read_as_float32(folder: Path) -> None:
    before = load_file(folder / TENSORS)
    retensor(folder, lambda tensors: tensors.update({key: one.bfloat16() for key, one in tensors.items()}))
    after = read_adapters(read_checkpoint(folder)).input_projector["3.weight"]
    assert after.dtype == torch.float32
    assert torch.equal(after, before["input_projector.3.weight"].bfloat16().float())


def test_the_shapes_follow_grouped_heads_and_their_own_width(folder: Path) -> None:
    config = folder / "language_model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_key_value_heads": 2, "head_dim": 64}))
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
            "image_decoder: image_decoder has a field 'revision', which is unknown",
        ),
        ("lora", {"alpha": ...}, "lora: lora has no field 'alpha'"),
        ("lora", {"rank": 0}, "lora: rank is 0"),
        ("lora", {"rank": 8.0}, "lora: rank is float, int expected"),
        ("lora", {"alpha": float("nan")}, "lora: alpha is float, float expected"),
        ("lora", {"alpha": -1}, "lora: alpha is -1"),
        ("reading", {"image_tokens": 16}, "reading: image_tokens is 16; of this ImageBind 1 or 17 would do"),
        ("reading", {"image_tokens": 0}, "reading: image_tokens is 0"),
        ("reading", {"input_norms": "none"}, "reading: input_norms is str"),
        ("reading", {"prompt_style": "vicuna"}, "reading: prompt_style is str"),
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
        Reading(257, "unit", "llama2-chat", True, 2 * description.LARGEST_SCALE)


# Backbones: the digest of the checkpoint's folder must cover them, or they state their own.


def outside(folder: Path, name: str) -> Path:
    """Moves a backbone out of the checkpoint."""
    return Path(shutil.move(folder / name, folder.parent / f"other_{name}"))


@pytest.mark.parametrize("relative", [True, False])
def test_a_backbone_outside_must_state_its_digest_and_the_complaint_says_which(folder: Path, relative: bool) -> None:
    moved = outside(folder, "imagebind")
    source = f"../{moved.name}" if relative else str(moved)
    rewrite(folder, "imagebind", source=source)
    digest = digest_backbone(moved)
    assert complaint(folder).endswith(
        f"{FILE}: imagebind: {source} is not in the checkpoint's own folder, so its digest must be stated; "
        f'write "digest": "{digest}"'
    )
    rewrite(folder, "imagebind", digest=digest)
    check(str(folder), [], 1)
    assert read_checkpoint(folder).imagebind.resolve() == moved.resolve()


@pytest.mark.parametrize("source", ["language_model", "linked/inner", ".hidden"])
def test_a_linked_or_hidden_backbone_is_outside_since_the_folders_digest_does_not_cover_it(
    folder: Path, source: str
) -> None:
    moved = outside(folder, "language_model")
    shutil.copytree(moved, folder.parent / "parent" / "inner")
    shutil.copytree(moved, folder / ".hidden")
    (folder / "language_model").symlink_to(moved)
    (folder / "linked").symlink_to(folder.parent / "parent")
    rewrite(folder, "language_model", source=source)
    before = digest_tree(folder)
    reconfigure(folder / source / "config.json", rms_norm_eps=0.1)
    assert digest_tree(folder) == before
    assert "is not in the checkpoint's own folder" in complaint(folder)


def test_a_link_to_a_folder_within_a_backbone_is_refused(folder: Path) -> None:
    (folder / "language_model" / "more").symlink_to(folder.parent)
    assert "language_model/more: a link to a folder" in complaint(folder)


def test_another_backbone_than_the_digest_says_is_refused_with_both_digests(folder: Path) -> None:
    before = digest_backbone(folder / "language_model")
    rewrite(folder, "language_model", digest=before)
    check(str(folder), [], 1)
    file = folder / "language_model" / "config.json"
    file.write_text(file.read_text() + "\n")
    now = digest_backbone(folder / "language_model")
    said = complaint(folder)
    assert "language_model: its digest is to be" in said and before in said and now in said and before != now


def test_a_folders_digest_is_that_of_the_files_which_are_read(tmp_path: Path) -> None:
    for name, data in (("b/model.safetensors", b"1"), ("config.json", b"{}")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    lines = "".join(
        f"{name} {hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("b/model.safetensors", b"1"), ("config.json", b"{}"))
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert digest_backbone(tmp_path) == expected
    (tmp_path / ".cache").mkdir()
    for name in ("README.md", "tf_model.h5", "b/model.fp16.safetensors", "pytorch_model.bin", ".cache/a.json"):
        (tmp_path / name).write_bytes(b"another library's")
    assert digest_backbone(tmp_path) == expected
    (tmp_path / "tokenizer.model").write_bytes(b"read")
    assert digest_backbone(tmp_path) != expected


def test_a_files_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "imagebind_huge.pth").write_bytes(b"weights")
    assert digest_backbone(tmp_path / "imagebind_huge.pth") == hashlib.sha256(b"weights").hexdigest()
    before = digest_backbone(tmp_path)
    (tmp_path / "imagebind_huge.pth").write_bytes(b"other weights")
    assert digest_backbone(tmp_path) != before


@pytest.mark.parametrize(
    ("source", "inside"),
    [("a", True), ("a/b", True), ("./a", True), ("../a", False), ("a/../b", False), ("/a", False), (".a/b", False)],
)
def test_what_lies_in_the_folder(tmp_path: Path, source: str, inside: bool) -> None:
    assert is_inside(tmp_path, source) is inside


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Puts a folder into a hub cache of the test's own, as the hub's library does: links to blobs."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, folder: Path) -> None:
        root = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text(COMMIT)
        (root / "blobs").mkdir()
        for file in [file for file in folder.rglob("*") if file.is_file()]:
            blob = root / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copy(file, blob)
            link = root / "snapshots" / COMMIT / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))

    return put


def test_a_checkpoint_in_the_hubs_cache_is_read_through_its_links(
    codi2_tiny: Path, hub: Callable[[str, Path], None]
) -> None:
    hub("org/codi2", codi2_tiny)
    path = Path(checkpoint_path("org/codi2@main"))
    assert (path / TENSORS).is_symlink()
    check(str(path), [], 1)
    assert read_adapters(read_checkpoint(path)).input_embeddings.shape == (6, 128)
    assert digest_tree(path) == digest_tree(codi2_tiny)


def test_a_backbone_may_be_a_hub_id_with_its_revision_and_digest(
    folder: Path, hub: Callable[[str, Path], None]
) -> None:
    moved = outside(folder, "language_model")
    hub("org/llama", moved)
    rewrite(folder, "language_model", source="org/llama")
    assert "name a hub id with its revision, org/name@revision" in complaint(folder)
    rewrite(folder, "language_model", source="org/llama@main")
    assert f'write "digest": "{digest_backbone(moved)}"' in complaint(folder)
    rewrite(folder, "language_model", digest=digest_backbone(moved))
    check(str(folder), [], 1)
    assert COMMIT in str(read_checkpoint(folder).language_model)
    rewrite(folder, "language_model", digest="0" * 64)
    assert "its digest is to be 000000" in complaint(folder)


def test_a_hub_id_that_cannot_be_had_is_absent_and_named(folder: Path, hub: Callable[[str, Path], None]) -> None:
    rewrite(folder, "imagebind", source="org/imagebind@main", digest="0" * 64)
    with pytest.raises(AbsentError, match=r"codi2\.json: imagebind: org/imagebind@main is not in the hub cache"):
        check(str(folder), [], 1)


def test_offline_is_heard_where_no_flag_reaches(
    hub: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("harness.weights._newest_commit", lambda name, revision: asked.append(name))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for names in (["org/a"], ["org/a"]):
        with pytest.raises(AbsentError):
            checkpoint_path("org/a@main")
        assert asked == names
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # so that it is put back after the test
        ask_nobody()


# What the backbones themselves say.


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("language_model/config.json", {"model_type": "mistral"}, "model_type is 'mistral'; llama would do"),
        ("language_model/config.json", {"hidden_size": "128"}, "hidden_size is '128'; a whole number"),
        ("language_model/config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ("language_model/config.json", {"num_attention_heads": 0}, "num_attention_heads is 0"),
        ("language_model/config.json", {"tie_word_embeddings": True}, "tie_word_embeddings is true"),
        ("language_model/config.json", {"_attn_implementation": "org/kernels"}, "names code of a hub"),
        ("image_decoder/unet/config.json", {"projection_class_embeddings_input_dim": 2048}, "class vectors of 2048"),
        ("image_decoder/model_index.json", {"_class_name": "StableDiffusionPipeline"}, "is a StableDiffusionPipeline"),
        ("imagebind/config.json", {"dimension": 32}, "class vectors of 128 numbers; 64"),
        ("imagebind/config.json", {"vision": None}, "it has no vision tower"),
        ("imagebind/config.json", {"model_type": "clip"}, "no config of an ImageBind"),
    ],
)
def test_backbones_that_are_others_or_do_not_fit_are_refused(folder: Path, file: str, changes: Any, said: str) -> None:
    reconfigure(folder / file, **changes)
    assert said in complaint(folder)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("language_model/config.json", "config.json is missing"),
        ("language_model/model.safetensors", "no safetensors are there"),
        ("language_model/tokenizer.json", "the vocabulary is missing"),
        ("image_decoder/model_index.json", "model_index.json is missing"),
        ("imagebind", "nothing is at"),
    ],
)
def test_a_backbone_with_something_missing_is_refused_before_any_worker(folder: Path, file: str, said: str) -> None:
    path = folder / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert said in complaint(folder)


def test_the_language_models_own_config_may_be_as_hostile_as_it_likes(folder: Path) -> None:
    (folder / "language_model" / "config.json").write_text('{"a": ' * 100_000)
    assert "config.json is not JSON: nested too deeply" in complaint(folder)
