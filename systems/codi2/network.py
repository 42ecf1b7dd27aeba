"""The language model with its two projectors: one nn.Module, and the few steps that decoding is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache, LlamaForCausalLM

from systems.codi2.conversation import Element, Kept
from systems.codi2.sequence import length

PLACEHOLDER = 0


class Memory:
    """What was read of each row of a batch: its keys and values, and which positions are its own (1) or padding (0)."""

    def __init__(self, kept: Sequence[Kept], lengths: Sequence[int], device: torch.device) -> None:
        """Of rows that continue what was `kept`, `lengths` positions of each yet to be read."""
        before = [length(one.elements) for one in kept]
        self._own = torch.cat([_own(before, device), _own(lengths, device)], 1)
        self._padded = not bool(self._own.all())
        self.cache = DynamicCache()
        for number, layer in enumerate(zip(*_filled(kept), strict=True)):
            keys, values = (_stacked(part, max(before)) for part in zip(*layer, strict=True))
            self.cache.update(keys, values, number)

    @property
    def mask(self) -> Tensor | None:
        """(rows, positions); None without padding, which leaves attention its fast path."""
        return self._own if self._padded else None

    def take_out(self, row: int, elements: Sequence[Element]) -> Kept:
        """What was read of a row, to be gone on from later; `elements` is what that was."""
        own = self._own[row].bool()
        layers: list[Any] = self.cache.layers
        return Kept(tuple(elements), tuple((layer.keys[row][:, own], layer.values[row][:, own]) for layer in layers))

    def position_ids(self, newest: int) -> Tensor:
        """(rows, newest): where the newest positions stand in their own row, counted from 0."""
        return (self._own.cumsum(1) - 1).clamp_min(0)[:, -newest:]

    def lengthen(self) -> None:
        """One more position of every row."""
        self._own = pad(self._own, (0, 1), value=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets the other rows."""
        index = torch.tensor(rows, device=self._own.device)
        self._own = self._own[index]
        self.cache.batch_select_indices(index)


class Network(nn.Module):
    """`llama` in the dtype that it computes in; `input_projector` and `output_projector` in float32.

    The device is asked for at every call, so the module may be moved in between.
    """

    def __init__(self, llama: LlamaForCausalLM, input_projector: nn.Module, output_projector: nn.Module) -> None:
        super().__init__()
        self.llama = llama
        self.input_projector = input_projector
        self.output_projector = output_projector

    @property
    def device(self) -> torch.device:
        here: torch.device = self.llama.device
        return here

    @property
    def positions(self) -> int:
        """How long a sequence may be."""
        most: int = self.llama.config.max_position_embeddings
        return most

    def embed(self, rows: Sequence[Sequence[Element]]) -> Tensor:
        """(rows, longest, hidden): the embedding of each element, padded on the left.

        Every vector goes to its own row and position, so rows may hold any number of slots (docs/codi2.md, point 16).
        """
        longest = max(map(length, rows))
        ids, at, vectors = [], [], []
        for number, row in enumerate(rows):
            own = [PLACEHOLDER] * (longest - length(row))
            for element in row:
                if isinstance(element, Tensor):
                    at += [(number, len(own) + offset) for offset in range(len(element))]
                    vectors.append(element)
                    own += [PLACEHOLDER] * len(element)
                else:
                    own.append(element)
            ids.append(own)
        embedded: Tensor = self.llama.get_input_embeddings()(torch.tensor(ids, device=self.device))
        if vectors:
            row_of, position_of = torch.tensor(at, device=self.device).unbind(1)
            projected = self.input_projector(torch.cat(vectors).to(self.device, torch.float32))
            embedded = embedded.index_put((row_of, position_of), projected.to(embedded.dtype))
        return embedded

    def begin(self, rows: Sequence[Sequence[Element]], kept: Sequence[Kept]) -> tuple[Tensor, Memory]:
        """Reads whole sequences: the states (rows, hidden) at their last elements, and what to go on from.

        What was kept of a row is what it begins with, and is not read again.
        """
        unread = [row[len(one.elements) :] for row, one in zip(rows, kept, strict=True)]
        memory = Memory(kept, [length(row) for row in unread], self.device)
        return self._read(self.embed(unread), memory), memory

    def go_on(self, elements: Sequence[Element], memory: Memory) -> Tensor:
        """Reads one more position of each row: the states (rows, hidden) at it."""
        memory.lengthen()
        return self._read(self.embed([[element] for element in elements]), memory)

    def _read(self, embedded: Tensor, memory: Memory) -> Tensor:
        outputs = self.llama.model(
            inputs_embeds=embedded,
            attention_mask=memory.mask,
            position_ids=memory.position_ids(embedded.shape[1]),
            past_key_values=memory.cache,
            use_cache=True,
        )
        # After the final norm: what lm_head sees, and what hidden_states[-1] is in transformers.
        state: Tensor = outputs.last_hidden_state[:, -1]
        return state

    def logits(self, states: Tensor) -> Tensor:
        """(rows, hidden) -> (rows, vocabulary) float32"""
        scores: Tensor = self.llama.lm_head(states)
        return scores.float()

    def features(self, states: Tensor) -> Tensor:
        """(rows, hidden) -> (rows, dim) float32"""
        predicted: Tensor = self.output_projector(states.float())
        return predicted


def _own(lengths: Sequence[int], device: torch.device) -> Tensor:
    """(rows, longest): 1 for each row's last `lengths` positions."""
    longest = max(lengths)
    return (torch.arange(longest, device=device) >= longest - torch.tensor(lengths, device=device)[:, None]).long()


def _filled(kept: Sequence[Kept]) -> list[tuple[tuple[Tensor, Tensor], ...]]:
    """The layers of each row, empty ones where nothing was kept."""
    some = next((one.layers for one in kept if one.layers), ())
    empty = tuple((keys[:, :0], values[:, :0]) for keys, values in some)
    return [one.layers or empty for one in kept]


def _stacked(rows: Sequence[Tensor], longest: int) -> Tensor:
    """(rows, heads, longest, width), padded on the left."""
    return torch.stack([pad(row, (0, 0, longest - row.shape[1], 0)) for row in rows])
