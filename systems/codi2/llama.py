"""The language model of a checkpoint: Llama from its folder, the six tags added, LoRA merged, and its tokenizer.

Source: Llama 2 (Touvron et al., arXiv 2307.09288) through transformers; LoRA (Hu et al., arXiv 2106.09685) through
peft. CoDi-2 adapts q, k, v and o of every layer; the tags are point 8 of docs/codi2.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, LoraModel, get_peft_model_state_dict
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness.errors import UsageError, one_line
from systems.codi2.checkpoint import TAGS, TENSORS
from systems.codi2.description import Lora
from systems.diffusers_pipeline import BROKEN_CHECKPOINT, load_model, quiet

ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")
PREFIX = "model."
VOCABULARIES = ("tokenizer.json", "tokenizer.model")


def load_llama(folder: Path, dtype: torch.dtype) -> LlamaForCausalLM:
    """The frozen model of a folder in the hub's format, in `dtype`, on the CPU, its attention torch's own.

    Raises UsageError naming the folder: no Llama, weights missing, unexpected or misshapen, tied embeddings (the tags
    have rows of their own in both), no safetensors.
    """
    with quiet():
        _check_config(folder)
        llama = load_model(LlamaForCausalLM, folder, dtype, attn_implementation="sdpa")
    assert isinstance(llama, LlamaForCausalLM)
    llama.eval()
    return llama


def load_tokenizer(folder: Path, vocabulary: int) -> Any:
    """The tokenizer of a folder; UsageError where it is absent, or spells tokens beyond the model's `vocabulary`."""
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise UsageError(f"{folder}: the vocabulary is missing ({' or '.join(VOCABULARIES)})")
    with quiet():
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except BROKEN_CHECKPOINT as error:
            raise UsageError(f"{folder}: {one_line(error)}") from error
    if len(tokenizer) > vocabulary:
        raise UsageError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, config.json a vocab_size of {vocabulary}"
        )
    if None in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        raise UsageError(f"{folder}: tokenizer_config.json names no bos_token or no eos_token")
    return tokenizer


@torch.no_grad()
def add_tags(llama: LlamaForCausalLM, input_embeddings: Tensor, output_embeddings: Tensor) -> None:
    """Appends the tags' rows (6, hidden) to embed_tokens and to lm_head: they are the ids after the vocabulary."""
    embeddings, head = llama.model.embed_tokens, llama.lm_head
    for name, rows in (("tags.input_embeddings", input_embeddings), ("tags.output_embeddings", output_embeddings)):
        if rows.shape != (len(TAGS), embeddings.embedding_dim):
            wanted = (len(TAGS), embeddings.embedding_dim)
            raise UsageError(f"{TENSORS}: {name} has shape {tuple(rows.shape)}; this language model needs {wanted}")
    embeddings.weight = _with_rows(embeddings.weight, input_embeddings)
    head.weight = _with_rows(head.weight, output_embeddings)
    embeddings.num_embeddings = head.out_features = llama.config.vocab_size = llama.vocab_size = len(head.weight)


@torch.no_grad()
def merge_lora(llama: LlamaForCausalLM, lora: Mapping[str, Tensor], description: Lora) -> LlamaForCausalLM:
    """The model with W + alpha / rank * B A in place of each adapted W: added in float32, rounded once to W's dtype.

    `lora` has the names of systems.codi2.checkpoint. Raises UsageError with the first name or shape that is not this
    model's.
    """
    config = LoraConfig(r=description.rank, target_modules=list(ADAPTED), task_type="CAUSAL_LM")
    config.lora_alpha = description.alpha  # type: ignore[assignment]  # peft only divides it by r
    # Not get_peft_model, whose wrapper warns with transformers 5.23; empty until the weights are assigned.
    adapted = LoraModel(llama, config, "default", low_cpu_mem_usage=True)
    given = {f"{PREFIX}{name}": values.float() for name, values in lora.items()}
    _check_lora(get_peft_model_state_dict(adapted), given)
    # Not set_peft_model_state_dict, which would round them to the network's dtype.
    named = {name.replace(".weight", ".default.weight"): values for name, values in given.items()}
    adapted.load_state_dict(named, strict=False, assign=True)
    layers: list[Any] = [module for module in adapted.modules() if isinstance(module, Linear)]
    for layer in layers:
        weight = layer.base_layer.weight
        weight.data = (weight.float() + layer.get_delta_weight("default")).to(weight.dtype)
    merged: Any = adapted.unload()
    return merged  # type: ignore[no-any-return]


def load_projector(projector: nn.Module, name: str, values: Mapping[str, Tensor]) -> nn.Module:
    """The projector with its weights; UsageError in one line for those of another."""
    try:
        projector.load_state_dict(dict(values), strict=True)
    except RuntimeError as error:
        raise UsageError(f"{TENSORS}: {name}: {' '.join(str(error).split())}") from error
    return projector.eval()


def _check_config(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: config.json is missing")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except BROKEN_CHECKPOINT as error:
        raise UsageError(f"{folder}: {one_line(error)}") from error
    if type(config) is not LlamaConfig:
        raise UsageError(f"{folder}: config.json describes a {config.model_type} model; CoDi-2 needs llama")
    if config.tie_word_embeddings:
        raise UsageError(f"{folder}: tie_word_embeddings is true; the tags need a model with embeddings of their own")


def _with_rows(weight: Tensor, rows: Tensor) -> nn.Parameter:
    return nn.Parameter(torch.cat((weight, rows.to(weight))), requires_grad=False)


def _check_lora(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    for words, names in (
        ("is missing", expected.keys() - given.keys()),
        ("is unexpected", given.keys() - expected.keys()),
    ):
        if names:
            name = min(names).removeprefix(PREFIX)
            raise UsageError(f"{TENSORS}: lora.{name} {words} ({len(names)} such); it is of another language model")
    for name, values in sorted(given.items()):
        if values.shape != expected[name].shape:
            shapes = f"{tuple(values.shape)}; this language model needs {tuple(expected[name].shape)}"
            raise UsageError(f"{TENSORS}: lora.{name.removeprefix(PREFIX)} has shape {shapes}")
