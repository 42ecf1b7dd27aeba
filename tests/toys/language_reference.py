"""CoDi-2's language half straight from its equations, in NumPy and float64: one sequence, no cache, LoRA beside its W.

RMSNorm, rotary positions, grouped-query attention and SwiGLU are Llama 2's (Touvron et al., arXiv 2307.09288, section
2.2); nothing of transformers, peft or systems.codi2 is called.
"""

from __future__ import annotations

import json
from math import erf

import numpy as np
from language_toys import LORA, Toy
from safetensors.numpy import load_file

BYTES = sorted(
    chr(code)
    for code in (
        *range(0x21, 0x7F),
        *range(0xA1, 0xAD),
        *range(0xAE, 0x100),
        *range(0x100, 0x100 + 256 - (0x7F - 0x21) - (0xAD - 0xA1) - (0x100 - 0xAE)),
    )
)
START, END = 1, 2
OPENING = {"image": 259, "audio": 261, "video": 263}


def spell(text: str) -> list[int]:
    """The toy tokenizer's ids of printable ASCII: a token a byte, and a space is GPT-2's Ġ."""
    return [3 + BYTES.index("Ġ" if letter == " " else letter) for letter in text]


class Reference:
    """The network of a toy. A sequence is a list of ids and of vectors (dim,), one for each position."""

    def __init__(self, toy: Toy) -> None:
        self.config = json.loads((toy.folder / "config.json").read_text())
        self.weights = {k: v.astype(np.float64) for k, v in load_file(toy.folder / "model.safetensors").items()}
        self.lora = _doubles(toy.adapters.lora)
        self.into, self.out = _doubles(toy.adapters.input_projector), _doubles(toy.adapters.output_projector)
        tags = [t.double().numpy() for t in (toy.adapters.input_embeddings, toy.adapters.output_embeddings)]
        self.embeddings = np.concatenate((self.weights["model.embed_tokens.weight"], tags[0]))
        self.head = np.concatenate((self.weights["lm_head.weight"], tags[1]))

    def state(self, sequence: list) -> np.ndarray:
        """After the final norm, at the last position."""
        x = np.stack([self.embeddings[e] if isinstance(e, int) else _mlp(self.into, e) for e in sequence])
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            x = x + self._attention(f"{name}.self_attn", self._norm(f"{name}.input_layernorm", x))
            y = self._norm(f"{name}.post_attention_layernorm", x)
            gate, up, down = (self.weights[f"{name}.mlp.{part}_proj.weight"] for part in ("gate", "up", "down"))
            x = x + ((y @ gate.T) / (1 + np.exp(-(y @ gate.T))) * (y @ up.T)) @ down.T
        return self._norm("model.norm", x)[-1]

    def feature(self, sequence: list) -> np.ndarray:
        return _mlp(self.out, self.state(sequence))

    def answer(self, prompt: list, wants: tuple[str, ...], most: int) -> tuple[list, list[tuple[str, np.ndarray]]]:
        """Greedy, features fed back: what is appended, and each feature with its modality."""
        added: list = []
        features: list = []

        def fill(modality: str) -> None:
            features.append((modality, self.feature(prompt + added)))
            added.extend((features[-1][1] / np.linalg.norm(features[-1][1]), OPENING[modality] + 1))

        while len(added) < most:
            logits = self.head @ self.state(prompt + added)
            logits[[260, 262, 264]] = -np.inf
            if (token := int(logits.argmax())) == END:
                break
            added.append(token)
            for modality, tag in OPENING.items():
                if token == tag:
                    fill(modality)
        there = [modality for modality, _ in features]
        for modality in wants:
            if modality in there:
                there.remove(modality)
            else:
                added.append(OPENING[modality])
                fill(modality)
        return added, features

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return (
            x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * self.weights[f"{name}.weight"]
        )

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        low, high = self.lora[f"{name}.lora_A.weight"], self.lora[f"{name}.lora_B.weight"]
        return x @ self.weights[f"{name}.weight"].T + LORA.alpha / LORA.rank * (x @ low.T) @ high.T

    def _attention(self, name: str, x: np.ndarray) -> np.ndarray:
        heads, groups = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        n, size = len(x), self.config["hidden_size"] // heads
        query = _rotate(self._linear(f"{name}.q_proj", x).reshape(n, heads, size))
        key = _rotate(self._linear(f"{name}.k_proj", x).reshape(n, groups, size))
        value = self._linear(f"{name}.v_proj", x).reshape(n, groups, size)
        mixed = np.empty_like(query)
        for head in range(heads):
            group = head * groups // heads
            for position in range(n):
                scores = key[: position + 1, group] @ query[position, head] / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                mixed[position, head] = weights / weights.sum() @ value[: position + 1, group]
        return self._linear(f"{name}.o_proj", mixed.reshape(n, -1))


def _rotate(x: np.ndarray) -> np.ndarray:
    """(positions, heads, size): the pair (i, i + size / 2) turned by position * 10000 ** (-2 i / size)."""
    n, _, size = x.shape
    turns = np.arange(n)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    pairs = x[..., : size // 2] + 1j * x[..., size // 2 :]
    turned = pairs * np.exp(1j * turns)[:, None]
    return np.concatenate((turned.real, turned.imag), axis=-1)


def _mlp(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    x = weights["0.weight"] @ x + weights["0.bias"]
    x = np.array([one * (1 + erf(one / np.sqrt(2))) / 2 for one in x])
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weights["2.weight"] + weights["2.bias"]
    return weights["3.weight"] @ x + weights["3.bias"]


def _doubles(tensors) -> dict[str, np.ndarray]:
    return {name: values.double().numpy() for name, values in tensors.items()}
