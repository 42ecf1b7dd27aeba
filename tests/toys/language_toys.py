"""Language models of a few thousand weights: random ones, and ones whose next token is built in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from systems.codi2.checkpoint import Adapters
from systems.codi2.conversation import Answer, Exchange, Part, Request, Vectors
from systems.codi2.description import Lora, Reading
from systems.codi2.language import LanguageModel
from systems.codi2.projectors import projector

HIDDEN, DIM, LAYERS, VOCABULARY, POSITIONS = 32, 16, 2, 259, 512
LORA = Lora(rank=4, alpha=6.0)


@dataclass(frozen=True)
class Toy:
    """A folder with a frozen model, and what was trained on it."""

    folder: Path
    adapters: Adapters

    def load(
        self, feedback: bool = True, style: str = "llama2-chat", dtype: torch.dtype = torch.float32
    ) -> LanguageModel:
        reading = Reading(1, "unit", style, feedback, 1.0)
        return LanguageModel.load(self.folder, self.adapters, LORA, reading, dtype)


def tokenizer() -> PreTrainedTokenizerFast:
    """<unk>, <s>, </s> and the 256 bytes, without a merge: as many tokens as bytes."""
    tokens = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def configuration(**others: object) -> LlamaConfig:
    sizes = dict(hidden_size=HIDDEN, intermediate_size=48, num_hidden_layers=LAYERS, max_position_embeddings=POSITIONS)
    heads = dict(num_attention_heads=4, num_key_value_heads=2)
    tokens = dict(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2)
    return LlamaConfig(**{**sizes, **heads, **tokens, **others})


def random_toy(folder: Path, seed: int = 0, tag_scale: float = 0.3) -> Toy:
    """Weights large enough that every position feels every other. The higher `tag_scale`, the more it says tags."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llama = LlamaForCausalLM(configuration())
        for weight in llama.parameters():
            weight.data = torch.randn_like(weight) * 0.3 if weight.dim() == 2 else 1 + 0.1 * torch.randn_like(weight)
        save(llama, folder)
        rows = [tag_scale * torch.randn(6, HIDDEN) for _ in range(2)]
        return Toy(folder, Adapters(lora(llama, 0.3), bridge(DIM, HIDDEN), bridge(HIDDEN, DIM), *rows))


def talking_toy(folder: Path, says: dict[int, int]) -> Toy:
    """After token k it says `says[k]`, else `says[-1]`: attention and MLP add nothing, so a state is its embedding.

    Embeddings are one-hot, token k's at k, so it is as wide as its vocabulary with the tags.
    """
    width = VOCABULARY + 6
    llama = LlamaForCausalLM(
        configuration(hidden_size=width, intermediate_size=8, num_attention_heads=1, num_key_value_heads=1, head_dim=4)
    )
    for weight in llama.parameters():
        weight.data = torch.zeros_like(weight) if weight.dim() == 2 else torch.ones_like(weight)
    following = torch.zeros(width, width)
    for token in range(width):
        following[says.get(token, says[-1]), token] = 1
    identity = torch.eye(width)
    llama.model.embed_tokens.weight.data = identity[:VOCABULARY].clone()
    llama.lm_head.weight.data = following[:VOCABULARY].clone()
    save(llama, folder)
    torch.manual_seed(0)
    rows = identity[VOCABULARY:], following[VOCABULARY:]
    return Toy(folder, Adapters(lora(llama, 0.0), bridge(DIM, width), bridge(width, DIM), *rows))


def lora(llama: LlamaForCausalLM, scale: float) -> dict[str, Tensor]:
    adapted = {}
    for name, weight in llama.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            stem = name.removesuffix(".weight")
            adapted[f"{stem}.lora_A.weight"] = scale * torch.randn(LORA.rank, weight.shape[1])
            adapted[f"{stem}.lora_B.weight"] = scale * torch.randn(weight.shape[0], LORA.rank)
    return adapted


def bridge(inputs: int, outputs: int) -> dict[str, Tensor]:
    """A projector whose biases and norms are not those it is initialised with."""
    weights = projector(inputs, outputs).state_dict()
    return {name: values + 0.1 * torch.randn_like(values) for name, values in weights.items()}


def save(llama: LlamaForCausalLM, folder: Path) -> None:
    llama.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def vectors(modality: str, seed: int, count: int = 1) -> Vectors:
    values = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return Vectors(modality, values / values[0].norm())


def ask(*question: Part, wants: tuple[str, ...] = ("image",), seed: int = 0, name: str = "case", **earlier) -> Request:
    return Request((*earlier.get("exchanges", ()), Exchange(question)), wants, seed, name)


def told(question: tuple[Part, ...], answer: Answer) -> Exchange:
    return Exchange(question, answer)
