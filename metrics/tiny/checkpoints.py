"""Checkpoints at random, for `anybench init`: the hub's own folder format, the full architectures and their tiny twins.

Each writer takes a folder, made where it is not there, and a seed, and writes config.json and model.safetensors; the
same seed gives the same bytes. Random weights test the machinery; their scores mean nothing. CLAP's have a tokenizer of
single bytes beside them, filled up with tokens that no text has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import PreTrainedModel, RobertaTokenizer

from metrics.extractors import clap, clip, cnn14, dino, lpips
from metrics.extractors.checkpoint import Source


def write_dino(folder: Path, seed: int) -> None:
    """`dino-vits16`, 22 M parameters, 87 MB."""
    _write(folder, _random(lambda: dino.build(dino.VITS16), seed), dino.locate_hub)


def write_dino_tiny(folder: Path, seed: int) -> None:
    """`dino-tiny`, 0.2 M parameters."""
    _write(folder, _random(lambda: dino.build(dino.TINY), seed), dino.locate_hub)


def write_clip(folder: Path, seed: int) -> None:
    """`clip-vit-b32`, 151 M parameters, 605 MB."""
    _write(folder, _random(lambda: clip.build(clip.VITB32), seed), Source)


def write_clip_l14(folder: Path, seed: int) -> None:
    """`clip-vit-l14`, 428 M parameters, 1.7 GB."""
    _write(folder, _random(lambda: clip.build(clip.VITL14), seed), Source)


def write_clip_l14_336(folder: Path, seed: int) -> None:
    """`clip-vit-l14-336`, 428 M parameters, 1.7 GB."""
    _write(folder, _random(lambda: clip.build(clip.VITL14_336), seed), Source)


def write_clip_tiny(folder: Path, seed: int) -> None:
    """`clip-tiny`, 0.3 M parameters."""
    _write(folder, _random(lambda: clip.build(clip.TINY), seed), Source)


def write_lpips(folder: Path, seed: int) -> None:
    """`lpips-alex`, 2.5 M parameters, 10 MB."""
    _write_lpips(folder, lpips.ALEX, seed)


def write_lpips_tiny(folder: Path, seed: int) -> None:
    """`lpips-tiny`, 0.01 M parameters."""
    _write_lpips(folder, lpips.TINY, seed)


def _write_lpips(folder: Path, architecture: lpips.Architecture, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = lpips.Network(architecture)
        for name, weight in network.named_parameters():
            if name.startswith("lin"):
                nn.init.uniform_(weight)  # below zero, distances would be
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(architecture.config(), indent=2) + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def write_clap(folder: Path, seed: int) -> None:
    """`clap-htsat-unfused`, 153 M parameters, 614 MB."""
    _write_clap(folder, clap.HTSAT_UNFUSED, seed)


def write_clap_tiny(folder: Path, seed: int) -> None:
    """`clap-tiny`, 0.1 M parameters."""
    _write_clap(folder, clap.TINY, seed)


def _write_clap(folder: Path, architecture: clap.Architecture, seed: int) -> None:
    network = _random(lambda: clap.build(architecture), seed)
    _write(folder, network, Source)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # About what sounds have in dB, so that the network sees numbers around zero.
    state["audio_model.audio_encoder.batch_norm.running_mean"].fill_(-30.0)
    state["audio_model.audio_encoder.batch_norm.running_var"].fill_(400.0)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    _byte_tokenizer(architecture.text.vocabulary).save_pretrained(folder)


def _byte_tokenizer(vocabulary: int) -> RobertaTokenizer:
    """RoBERTa's tokenizer without a merge: its special tokens where RoBERTa has them, and one for each byte."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    tokens += [f"unused{index}" for index in range(len(tokens), vocabulary - 1)] + ["<mask>"]
    return RobertaTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def write_cnn14(folder: Path, seed: int) -> None:
    """`cnn14-16k`, 81 M parameters, 324 MB."""
    _write_cnn14(folder, cnn14.CNN14_16K, seed)


def write_cnn14_32k(folder: Path, seed: int) -> None:
    """`cnn14-32k`, 82 M parameters, 327 MB."""
    _write_cnn14(folder, cnn14.CNN14_32K, seed)


def write_cnn14_tiny(folder: Path, seed: int) -> None:
    """`cnn14-tiny`, 0.7 M parameters, 0.3 M of them the stored STFT."""
    _write_cnn14(folder, cnn14.TINY, seed)


def _write_cnn14(folder: Path, architecture: cnn14.Architecture, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = cnn14.Network(architecture)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        _tell_sounds_apart(network, architecture.rate)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(architecture.config(), indent=2) + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def _tell_sounds_apart(network: cnn14.Network, rate: int) -> None:
    """Give each batch norm the statistics of drawn sounds: without, twelve random layers make all sounds alike."""
    times = torch.arange(2 * rate) / rate
    sounds = [
        level
        * (torch.sin(2 * torch.pi * pitch * times) + loudness * torch.randn(len(times)) * torch.exp(-fall * times))
        for pitch, fall in ((110, 0), (330, 1), (990, 2), (2970, 0))
        for loudness in (0.1, 1.0)
        for level in (0.3, 0.03)
    ]
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = None  # the average of what was seen, which is one batch
    with torch.no_grad():
        network.train()(torch.stack(sounds))


def _random(build: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _write(folder: Path, network: PreTrainedModel, locate: Callable[[str], Source]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    network.config.architectures = [type(network).__name__]
    network.config.to_json_file(folder / "config.json")
    tensors = {locate(name).key: tensor.detach().contiguous() for name, tensor in network.named_parameters()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
