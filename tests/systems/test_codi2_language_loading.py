"""Loading CoDi-2's language model: LoRA merged, the tags' rows, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from language_toys import DIM, HIDDEN, LAYERS, LORA, VOCABULARY, Toy, configuration, random_toy
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from harness.errors import UsageError
from systems.codi2.projectors import projector

Q = "model.layers.0.self_attn.q_proj"
TENSORS = "codi2.safetensors"


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return random_toy(tmp_path / "toy")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_is_added_in_float32_and_rounded_once(toy: Toy, dtype: torch.dtype) -> None:
    state = toy.load(dtype=dtype).network.llama.state_dict()
    twice_rounded = 0
    for name, base in load_file(toy.folder / "model.safetensors").items():
        low, high = (toy.adapters.lora.get(f"{name.removesuffix('.weight')}.lora_{side}.weight") for side in "AB")
        if low is None or high is None:
            assert torch.equal(state[name][: len(base)], base.to(dtype)), name
            continue
        delta = (high @ low) * (LORA.alpha / LORA.rank)
        assert torch.equal(state[name], (base.to(dtype).float() + delta).to(dtype)), name
        twice_rounded += int((state[name] != base.to(dtype) + delta.to(dtype)).sum())
    assert (twice_rounded > 0) == (dtype != torch.float32)
    assert len(toy.adapters.lora) == 2 * 4 * LAYERS


def test_the_tags_are_the_ids_after_the_vocabulary_in_both_matrices(toy: Toy) -> None:
    llama = toy.load().network.llama
    assert torch.equal(llama.get_input_embeddings().weight[VOCABULARY:], toy.adapters.input_embeddings)
    assert torch.equal(llama.get_output_embeddings().weight[VOCABULARY:], toy.adapters.output_embeddings)
    assert llama.config.vocab_size == VOCABULARY + 6


def test_projectors_stay_in_float32_beside_a_network_in_half_precision(toy: Toy) -> None:
    network = toy.load(dtype=torch.bfloat16).network
    assert {weight.dtype for weight in network.llama.parameters()} == {torch.bfloat16}
    for bridge in (network.input_projector, network.output_projector):
        assert {weight.dtype for weight in bridge.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in network.parameters())


def test_at_full_size_the_projectors_have_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        sizes = [sum(w.numel() for w in projector(*widths).parameters()) for widths in ((1024, 4096), (4096, 1024))]
    assert sizes == [20_987_904, 5_246_976]


def _without(name: str):
    return lambda toy: replace(toy.adapters, lora={k: v for k, v in toy.adapters.lora.items() if k != name})


WRONG_ADAPTERS = {
    rf"{TENSORS}: lora\.{Q}\.lora_A\.weight is missing": _without(f"{Q}.lora_A.weight"),
    rf"{TENSORS}: lora\.model\.norm\.lora_A\.weight is unexpected": lambda toy: replace(
        toy.adapters, lora={**toy.adapters.lora, "model.norm.lora_A.weight": torch.zeros(4, HIDDEN)}
    ),
    rf"{TENSORS}: lora\.{Q}\.lora_B\.weight has shape \(32, 5\); this language model needs \(32, 4\)": lambda toy: (
        replace(toy.adapters, lora={**toy.adapters.lora, f"{Q}.lora_B.weight": torch.zeros(HIDDEN, 5)})
    ),
    rf"{TENSORS}: tags\.output_embeddings has shape \(6, 31\); .* needs \(6, 32\)": lambda toy: replace(
        toy.adapters, output_embeddings=torch.zeros(6, 31)
    ),
    rf"{TENSORS}: input_projector: .*0\.weight": lambda toy: replace(
        toy.adapters, input_projector=projector(DIM, 31).state_dict()
    ),
    rf"{TENSORS}: output_projector: .*Missing key.* \"0\.bias\"": lambda toy: replace(
        toy.adapters, output_projector={k: v for k, v in toy.adapters.output_projector.items() if k != "0.bias"}
    ),
}


@pytest.mark.parametrize("message", WRONG_ADAPTERS)
def test_adapters_of_another_model_are_refused_by_name(toy: Toy, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(toy, adapters=WRONG_ADAPTERS[message](toy)).load()


def _config(folder: Path, **changed: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def _weights(folder: Path, drop: str) -> None:
    file = folder / "model.safetensors"
    kept = {name: values for name, values in load_file(file).items() if name != drop}
    save_file(kept, file, metadata={"format": "pt"})


def _tied(folder: Path) -> None:
    LlamaForCausalLM(configuration(tie_word_embeddings=True)).save_pretrained(folder)
    _config(folder, tie_word_embeddings=True)


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _unbegun(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "bos_token": None}))


WRONG_FOLDERS = {
    "config.json is missing": lambda folder: (folder / "config.json").unlink(),
    "describes a gpt2 model; CoDi-2 needs llama": lambda folder: _config(folder, model_type="gpt2"),
    "tie_word_embeddings is true": _tied,
    r"1 missing \(first: model.norm.weight\)": lambda folder: _weights(folder, "model.norm.weight"),
    r"mismatched": lambda folder: _config(folder, intermediate_size=40),
    r"unexpected": lambda folder: _config(folder, num_hidden_layers=1),
    "no file named model.safetensors": _pickled,
    r"the vocabulary is missing \(tokenizer.json": lambda folder: (folder / "tokenizer.json").unlink(),
    "the tokenizer has 259 tokens, config.json a vocab_size of 100": lambda folder: _small(folder),
    "names no bos_token": _unbegun,
}


def _small(folder: Path) -> None:
    LlamaForCausalLM(configuration(vocab_size=100)).save_pretrained(folder)


@pytest.mark.parametrize("message", WRONG_FOLDERS)
def test_a_folder_that_is_no_complete_llama_is_refused_in_one_line(toy: Toy, message: str) -> None:
    WRONG_FOLDERS[message](toy.folder)
    with pytest.raises(UsageError, match=message) as raised:
        toy.load()
    assert str(raised.value).startswith(str(toy.folder))


def test_a_config_that_names_code_of_a_hub_runs_none(toy: Toy) -> None:
    """Nothing is looked up: torch's own attention is what is used."""
    _config(toy.folder, attn_implementation="somebody/kernels", _attn_implementation="somebody/kernels")
    assert toy.load().network.llama.config._attn_implementation == "sdpa"
