"""Checkpoint folders of the diffusers system: those that are published, and every way one can be broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from harness.errors import UsageError
from harness.nouns import Case, Item, Media, Turn
from systems.diffusers_pipeline import DiffusersPipeline

UNCLIP, TEXT = "stable-unclip", "stable-diffusion"


def system(checkpoints: Path, name: str) -> DiffusersPipeline:
    return DiffusersPipeline(str(checkpoints / name), "cpu", steps=3)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    Image.linear_gradient("L").save(tmp_path / "photograph.png")
    turn = Turn((Media("text", text="a dog"), Media("image", uri=str(tmp_path / "photograph.png"))), ("image",))
    return [Item(Case("any", (turn,)), sample=0, seed=1)]


def test_a_checkpoint_with_a_safety_checker_runs_without_it(
    checkpoints: Path, items: list[Item], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints / TEXT, tmp_path / "guarded")
    change_index(safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])(folder)
    assert system(tmp_path, "guarded").generate(items) == system(checkpoints, TEXT).generate(items)


def test_a_published_index_that_names_the_old_feature_extractor_is_read(
    checkpoints: Path, items: list[Item], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints / UNCLIP, tmp_path / "published")
    change_index(feature_extractor=["transformers", "CLIPFeatureExtractor"])(folder)
    assert system(tmp_path, "published").generate(items) == system(checkpoints, UNCLIP).generate(items)


def change_index(**entries: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


def change_weights(component: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = next((folder / component).glob("*.safetensors"))
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})

    return apply


def cut(path: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:3000])


UNET = "unet/diffusion_pytorch_model.safetensors"
NORM = "conv_norm_out.weight"
TEXT_NORM = "final_layer_norm.weight"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (shutil.rmtree, r"^no folder .*broken; give"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), r"broken: model_index.json is missing"),
    "index cut short": (lambda folder: (folder / "model_index.json").write_text("{"), r"model_index.json is not JSON"),
    "unknown pipeline": (change_index(_class_name="NoSuchPipeline"), r"broken: .*needs NoSuchPipeline"),
    "code of its own": (change_index(_class_name=["pipeline", "Own"]), r"broken: .*code is never loaded"),
    "a class from anywhere": (change_index(unet=["os", "path"]), r"broken: component unet is a os.path"),
    "component absent": (lambda folder: shutil.rmtree(folder / "vae"), r"broken: component vae is missing"),
    "no config": (lambda folder: (folder / "text_encoder/config.json").unlink(), r"text_encoder: config.json is miss"),
    "no weights": (lambda folder: (folder / UNET).unlink(), r"unet: .*diffusion_pytorch_model.safetensors"),
    "no vocabulary": (lambda folder: (folder / "tokenizer/tokenizer.json").unlink(), r"tokenizer: the vocabulary"),
    "no scheduler": (
        lambda folder: (folder / "scheduler/scheduler_config.json").rename(folder / "scheduler/other.json"),
        r"broken: .*scheduler_config.json",
    ),
    "pickled": (
        lambda folder: (folder / UNET).rename(folder / "unet/diffusion_pytorch_model.bin"),
        r"unet/diffusion_pytorch_model.bin: pickled weights",
    ),
    "weights cut short": (cut(UNET), r"unet: .*diffusion_pytorch_model.safetensors"),
    "encoder cut short": (cut("text_encoder/model.safetensors"), r"text_encoder: "),
    "a key missing": (change_weights("unet", lambda weights: weights.pop(NORM)), rf"unet: .*1 missing \(first: {NORM}"),
    "a key too many": (
        change_weights("vae", lambda weights: weights.update(stranger=torch.zeros(1))),
        r"vae: .*1 unexpected \(first: stranger",
    ),
    "another shape": (
        change_weights("unet", lambda weights: weights.update({NORM: torch.zeros(3)})),
        rf"unet: .*1 mismatched \(first: {NORM}",
    ),
    "a key missing in transformers": (
        change_weights("text_encoder", lambda weights: weights.pop(next(k for k in weights if TEXT_NORM in k))),
        rf"text_encoder: .*1 missing \(first: .*{TEXT_NORM}",
    ),
    "another shape in transformers": (
        change_weights(
            "text_encoder",
            lambda weights: weights.update({k: torch.zeros(3) for k in weights if TEXT_NORM in k}),
        ),
        rf"text_encoder: .*1 mismatched \(first: .*{TEXT_NORM}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_checkpoint_is_one_line_that_names_what_is_wrong(
    checkpoints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    damage, line = FAULTS[fault]
    damage(shutil.copytree(checkpoints / TEXT, tmp_path / "broken"))
    with pytest.raises(UsageError, match=line) as refusal:
        system(tmp_path, "broken")
    assert str(tmp_path / "broken") in str(refusal.value) and "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_the_weights_of_a_small_component_are_checked_like_any(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints / UNCLIP, tmp_path / "broken")
    change_weights("image_normalizer", lambda weights: weights.pop("mean"))(folder)
    with pytest.raises(UsageError, match=r"image_normalizer: .*1 missing \(first: mean\)"):
        system(tmp_path, "broken")
