"""CoDi-2's language model: conversations with media among their words in, answers with features out.

Conventions
- The network computes in its own dtype, its two projectors in float32; features are float32, in units of the
  checkpoint's `feature_scale`, which is left to whoever uses them.
- Requests of like length are read together, padded on the left: at most a quarter of what a batch reads is padding.
  Answers come in the order of the requests. An answer does not depend on its neighbours but for rounding (in
  float32 on random weights: 7e-7 relative in the median, 1.2e-5 at most of what was measured).
- Positions are counted in each row's own sequence. A request that could outgrow the network's positions is refused.

Source: Tang et al., arXiv 2311.18775, section 3; docs/codi2.md, points 3 to 5, 8, 13, 14 and 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from harness.errors import UsageError
from systems.codi2.checkpoint import Adapters
from systems.codi2.conversation import Answer, Decoding, Element, Request
from systems.codi2.description import Lora, Reading
from systems.codi2.generating import generate
from systems.codi2.llama import add_tags, load_llama, load_projector, load_tokenizer, merge_lora
from systems.codi2.network import Network
from systems.codi2.projectors import projector
from systems.codi2.sequence import Tags, Writer, length

MOST_PADDING = 0.25
# Positions that are read together: of a 7B Llama in 16 bit they keep 16 GiB of keys and values.
MOST_POSITIONS = 1 << 15
# An output is its opening tag, its slot and its closing tag.
OUTPUT_POSITIONS = 3


class LanguageModel:
    """A network, and how it is spoken to. `network` is its nn.Module, to be moved between devices at will."""

    def __init__(self, network: Network, writer: Writer, feedback: bool) -> None:
        self.network = network
        self._writer = writer
        self._feedback = feedback

    @classmethod
    def load(cls, folder: Path, adapters: Adapters, lora: Lora, reading: Reading, dtype: torch.dtype) -> LanguageModel:
        """The model of a checkpoint, on the CPU: the frozen one in `folder`, and what was trained on it.

        Raises UsageError in one line, as systems.codi2.llama has it.
        """
        llama = load_llama(folder, dtype)
        vocabulary: int = llama.config.vocab_size
        writer = Writer(load_tokenizer(folder, vocabulary), Tags(vocabulary), reading.prompt_style)
        add_tags(llama, adapters.input_embeddings, adapters.output_embeddings)
        llama = merge_lora(llama, adapters.lora, lora)
        hidden, width = llama.config.hidden_size, adapters.output_projector["3.bias"].shape[0]
        network = Network(
            llama,
            load_projector(projector(width, hidden), "input_projector", adapters.input_projector),
            load_projector(projector(hidden, width), "output_projector", adapters.output_projector),
        )
        return cls(network.requires_grad_(False), writer, reading.feedback)

    def answer(self, requests: Sequence[Request], decoding: Decoding) -> list[Answer]:
        """Answers the last exchange of each request.

        Raises UsageError naming the case: a sequence that is too long, states that are not finite.
        """
        prompts = [self._writer.prompt(request) for request in requests]
        for request, prompt in zip(requests, prompts, strict=True):
            self._check_length(request, prompt, decoding)
        answers: dict[int, Answer] = {}
        for bucket in buckets([length(prompt) for prompt in prompts]):
            asked, read = [requests[index] for index in bucket], [prompts[index] for index in bucket]
            made = generate(self.network, self._writer, self._feedback, asked, read, decoding)
            answers.update(zip(bucket, made, strict=True))
        return [answers[index] for index in range(len(requests))]

    def _check_length(self, request: Request, prompt: Sequence[Element], decoding: Decoding) -> None:
        """The wanted outputs may all have to be appended, after one that the model began at its last position."""
        free = decoding.is_free(request.wants)
        added = OUTPUT_POSITIONS * (len(request.wanted_media) + free) + free * decoding.max_new_tokens
        over = length(prompt) + added - self.network.positions
        if over > 0:
            mend = "set max_new_tokens lower or give it" if free and over < decoding.max_new_tokens else "give it"
            raise UsageError(
                f"case {request.name}: a prompt of {length(prompt)} positions and {added} for the answer are {over} "
                f"more than the language model's {self.network.positions}; {mend} fewer or shorter inputs"
            )


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of rows to be read together, longest first.

    As many as leave at most `MOST_PADDING` of it padding, and are at most `MOST_POSITIONS` long together.
    """
    cut: list[list[int]] = []
    total = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        size = lengths[cut[-1][0]] * (len(cut[-1]) + 1) if cut else 0
        if cut and size <= MOST_POSITIONS and size - total - lengths[index] <= MOST_PADDING * size:
            cut[-1].append(index)
            total += lengths[index]
        else:
            cut.append([index])
            total = lengths[index]
    return cut
