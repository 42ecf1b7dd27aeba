"""A CoDi-2 checkpoint's frozen models: found in the folder, outside of it or on the hub, and known by their digests."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from codi2_folders import complaint, reconfigure, rewrite

from harness.errors import AbsentError
from harness.identity import digest_tree
from harness.weights import ask_nobody, checkpoint_path
from systems.codi2.backbones import digest_backbone, is_inside
from systems.codi2.checkpoint import TENSORS, check, read_adapters, read_checkpoint
from systems.codi2.description import FILE

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(codi2_tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copytree(codi2_tiny, tmp_path / "checkpoint"))


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
        ("language_model/config.json", {"num_hidden_layers": 5000}, "num_hidden_layers is 5000"),
        ("language_model/config.json", {"num_attention_heads": 0}, "num_attention_heads is 0"),
        ("language_model/config.json", {"tie_word_embeddings": True}, "tie_word_embeddings is true"),
        ("language_model/config.json", {"_attn_implementation": "org/kernels"}, "names code of a hub"),
        ("image_decoder/unet/config.json", {"projection_class_embeddings_input_dim": 2048}, "class vectors of 2048"),
        ("image_decoder/model_index.json", {"_class_name": "StableDiffusionPipeline"}, "is StableDiffusionPipeline"),
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
