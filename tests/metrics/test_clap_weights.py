"""CLAP's weights in every format they come in, each read to the last tensor, and bad ones in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import clap_toys
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ClapModel

from harness.errors import UsageError
from harness.media import encode_audio
from harness.nouns import Media
from metrics.extractors.clap import CLAP, TINY, CLAPTiny, build, locate_official
from metrics.tiny import checkpoints as tiny

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
RUNNING_MEAN = "audio_model.audio_encoder.batch_norm.running_mean"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "clap-tiny"
    tiny.write_clap_tiny(folder, seed=1)
    clap_toys.make_loud(folder, seed=2)
    return folder


@pytest.fixture(scope="module")
def hub(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Media, ...]]:
    path = tmp_path_factory.mktemp("sounds") / "noise.flac"
    path.write_bytes(encode_audio(0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000))
    return [(Media("audio", uri=str(path)),), (Media("text", text="a dog barks"),)]


def with_tokenizer(folder: Path, place: Path) -> Path:
    """The place with the folder's tokenizer in it."""
    for name in TOKENIZER:
        shutil.copy(folder / name, place / name)
    return place


def changed(hub: dict[str, Tensor], folder: Path, place: Path, **tensors: Tensor | None) -> Path:
    """A hub folder with tensors replaced or, by None, left out; `__` stands for a dot."""
    state = hub | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    shutil.copy(folder / "config.json", place / "config.json")
    save_file({key: tensor for key, tensor in state.items() if tensor is not None}, place / "model.safetensors")
    return place


def refusal(weights: Path, kind: type[CLAP] = CLAPTiny) -> str:
    """The one line with which weights are refused."""
    with pytest.raises(UsageError) as caught:
        kind(str(weights), "cpu")
    assert "\n" not in str(caught.value) and str(weights) in str(caught.value)
    return str(caught.value)


def test_every_file_format_gives_the_same_embeddings(
    folder: Path, hub: dict[str, Tensor], rows: list[tuple[Media, ...]], tmp_path: Path
) -> None:
    expected = CLAPTiny(str(folder), "cpu").extract(rows)
    official = clap_toys.to_official(hub, TINY)
    (tmp_path / "hub").mkdir()
    for place in (tmp_path, tmp_path / "hub"):
        with_tokenizer(folder, place)
    shutil.copy(folder / "config.json", tmp_path / "hub" / "config.json")
    torch.save(hub, tmp_path / "hub" / "pytorch_model.bin")
    save_file(hub, tmp_path / "hub.safetensors")
    clap_toys.save_run(official, tmp_path / "630k-audioset-best.pt")
    clap_toys.save_run(official, tmp_path / "one_gpu.pt", prefix="")
    torch.save(official, tmp_path / "state_dict.pt")
    for name in ("hub", "hub.safetensors", "630k-audioset-best.pt", "one_gpu.pt", "state_dict.pt"):
        np.testing.assert_array_equal(CLAPTiny(str(tmp_path / name), "cpu").extract(rows), expected)


def test_each_tensor_of_either_format_ends_in_the_network(hub: dict[str, Tensor], folder: Path, tmp_path: Path) -> None:
    clap_toys.save_run(clap_toys.to_official(hub, TINY), tmp_path / "run.pt")
    constants = {key for key in hub if key.endswith(("position_ids", "token_type_ids", "num_batches_tracked"))}
    assert len(constants) == 3
    for weights in (folder, tmp_path / "run.pt"):
        loaded = CLAPTiny(str(weights), "cpu").network.state_dict()
        assert loaded.keys() == hub.keys() - constants
        assert all(torch.equal(tensor, hub[name]) for name, tensor in loaded.items())


def test_every_tensor_has_a_place_of_its_own_in_the_official_file() -> None:
    places = [locate_official(name) for name in build(TINY).state_dict()]
    assert len(set(places)) == len(places)
    thirds = {place.key: sorted(one.third for one in places if one.key == place.key) for place in places if place.third}
    assert len(thirds) == 2 * sum(TINY.audio.blocks)
    assert all(found == [0, 1, 2] for found in thirds.values())


@pytest.mark.parametrize(
    ("name", "official_name"),
    [
        ("logit_scale_t", "logit_scale_t"),
        ("text_model.pooler.dense.bias", "text_branch.pooler.dense.bias"),
        ("text_projection.linear2.weight", "text_projection.2.weight"),
        (RUNNING_MEAN, "audio_branch.bn0.running_mean"),
        (
            "audio_model.audio_encoder.layers.1.blocks.1.attention.self.relative_position_index",
            "audio_branch.layers.1.blocks.1.attn.relative_position_index",
        ),
        (
            "audio_model.audio_encoder.layers.3.blocks.0.attention.self.value.bias",
            "audio_branch.layers.3.blocks.0.attn.qkv.bias",
        ),
        (
            "audio_model.audio_encoder.layers.0.downsample.reduction.weight",
            "audio_branch.layers.0.downsample.reduction.weight",
        ),
    ],
)
def test_a_missing_tensor_is_named_in_either_format(
    hub: dict[str, Tensor], folder: Path, tmp_path: Path, name: str, official_name: str
) -> None:
    assert f"missing key: {name} (of 1)" in refusal(changed(hub, folder, tmp_path, **{name: None}))
    official = clap_toys.to_official(hub, TINY)
    clap_toys.save_run({key: official[key] for key in official if key != official_name}, tmp_path / "run.pt")
    assert f"missing key: module.{official_name} (of " in refusal(tmp_path / "run.pt")


def test_running_statistics_are_read_and_never_left_at_their_defaults(
    hub: dict[str, Tensor], folder: Path, rows: list[tuple[Media, ...]], tmp_path: Path
) -> None:
    moved = changed(hub, folder, with_tokenizer(folder, tmp_path), **{RUNNING_MEAN: hub[RUNNING_MEAN] + 20})
    before, after = (CLAPTiny(str(weights), "cpu").extract(rows) for weights in (folder, moved))
    assert np.abs(before[0] - after[0]).max() > 1e-3
    np.testing.assert_array_equal(before[1], after[1])


def test_a_tensor_that_nothing_asks_for_is_named(hub: dict[str, Tensor], folder: Path, tmp_path: Path) -> None:
    fused = {"audio_model__audio_encoder__patch_embed__fusion_model__local_att__0__bias": torch.zeros(2)}
    line = refusal(changed(hub, folder, tmp_path, **fused))
    assert "missing key: none" in line and "unexpected key: audio_model.audio_encoder.patch_embed.fusion_model" in line
    official = clap_toys.to_official(hub, TINY) | {"audio_branch.patch_embed.mel_conv2d.bias": torch.zeros(2)}
    clap_toys.save_run(official, tmp_path / "fusion.pt")
    assert "unexpected key: module.audio_branch.patch_embed.mel_conv2d.bias" in refusal(tmp_path / "fusion.pt")


def test_a_misshapen_tensor_is_named_with_both_shapes(hub: dict[str, Tensor], folder: Path, tmp_path: Path) -> None:
    line = refusal(changed(hub, folder, tmp_path, text_projection__linear1__weight=torch.zeros(16, 8)))
    assert "text_projection.linear1.weight" in line and "(16, 8)" in line and "(32, 16)" in line
    official = clap_toys.to_official(hub, TINY)
    key = "audio_branch.layers.1.blocks.0.attn.qkv.weight"
    clap_toys.save_run(official | {key: official[key][:-1]}, tmp_path / "run.pt")
    line = refusal(tmp_path / "run.pt")
    assert f"module.{key}" in line and "(47, 16)" in line and "(48, 16)" in line


def test_weights_of_another_size_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "another architecture" in _refusal_inside(folder, CLAP)
    assert "missing key" not in _refusal_inside(folder, CLAP)
    shutil.copy(folder / "model.safetensors", tmp_path / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_attention_heads"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "text_config.num_attention_heads is 4, expected 2" in _refusal_inside(tmp_path, CLAPTiny)


def test_a_run_that_holds_other_objects_is_refused_and_not_run(hub: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": clap_toys.to_official(hub, TINY), "arguments": Path("x")}, tmp_path / "run.pt")
    assert "never loaded" in refusal(tmp_path / "run.pt")


def test_sounds_need_no_tokenizer_and_texts_say_which_one_is_to_be_put_where(
    hub: dict[str, Tensor], rows: list[tuple[Media, ...]], folder: Path, tmp_path: Path
) -> None:
    clap_toys.save_run(clap_toys.to_official(hub, TINY), tmp_path / "run.pt")
    extractor = CLAPTiny(str(tmp_path / "run.pt"), "cpu")
    sound, text = rows
    assert extractor.extract([sound]).shape == (1, TINY.dim)
    with pytest.raises(UsageError) as caught:
        extractor.extract([text])
    line = str(caught.value)
    assert "\n" not in line and str(tmp_path / "run.pt") in line
    assert "vocab.json and merges.txt; put those of laion/clap-htsat-unfused" in line
    with_tokenizer(folder, tmp_path)
    np.testing.assert_array_equal(extractor.extract([text]), CLAPTiny(str(folder), "cpu").extract([text]))


def test_a_vocabulary_and_merges_do_as_well_as_a_tokenizer_file(
    hub: dict[str, Tensor], rows: list[tuple[Media, ...]], folder: Path, tmp_path: Path
) -> None:
    changed(hub, folder, tmp_path)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    found = CLAPTiny(str(tmp_path), "cpu").extract(rows[1:])
    np.testing.assert_array_equal(found, CLAPTiny(str(folder), "cpu").extract(rows[1:]))


@pytest.mark.parametrize("content", ["{", "[1]", '{"model": 3}'])
def test_a_damaged_tokenizer_is_one_line(
    hub: dict[str, Tensor], rows: list[tuple[Media, ...]], folder: Path, tmp_path: Path, content: str
) -> None:
    changed(hub, folder, tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UsageError, match="its tokenizer cannot be read") as caught:
        CLAPTiny(str(tmp_path), "cpu").extract(rows)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_tokenizer_of_other_tokens_is_refused(
    hub: dict[str, Tensor], rows: list[tuple[Media, ...]], folder: Path, tmp_path: Path
) -> None:
    with_tokenizer(folder, changed(hub, folder, tmp_path))
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["more"] = TINY.text.vocabulary
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UsageError, match="a tokenizer of 513 tokens, these weights know 512"):
        CLAPTiny(str(tmp_path), "cpu").extract(rows)


def test_the_random_folder_is_the_hubs_format_and_tiny(tmp_path: Path) -> None:
    for name in ("one", "again"):
        tiny.write_clap_tiny(tmp_path / name, seed=5)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["config.json", "model.safetensors", *TOKENIZER]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert (tmp_path / "one" / "model.safetensors").stat().st_size < 500_000
    _, info = ClapModel.from_pretrained(tmp_path / "one", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def _refusal_inside(folder: Path, kind: type[CLAP]) -> str:
    """The refusal of a folder, whose line names a file in it."""
    with pytest.raises(UsageError) as caught:
        kind(str(folder), "cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)
