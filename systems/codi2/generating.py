"""The decoding loop: a batch of sequences is continued, each by its own rules, until all have ended.

What stands where, for each row:

    ... word word <image> slot </image> word ... end

At an opening tag the state (the last one of the network, after its final norm) goes through the output projector: that
is the feature. The slot's position then takes the feature again, at unit norm and through the input projector; without
`feedback` it takes the token that the logits at the tag choose, words only, as the released code has it by never
replacing it. The closing tag is appended, never chosen: outside of a slot it has no meaning, so the model cannot say
it. Opening tags are the model's to choose (the modality with them), any number of them, until it ends or has added
`max_new_tokens` positions. Then what is wanted and not there is appended.

Rows that have ended are taken out of the batch when half of it has.

Source: Tang et al., arXiv 2311.18775, section 3; docs/codi2.md, points 8, 12 and 13.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.errors import UsageError
from harness.nouns import Modality
from systems.codi2.conversation import NOTHING, Answer, Decoding, Element, Feature, Request
from systems.codi2.network import PLACEHOLDER, Network
from systems.codi2.sampling import choose
from systems.codi2.sequence import Writer


@torch.inference_mode()
def generate(
    network: Network,
    writer: Writer,
    feedback: bool,
    requests: Sequence[Request],
    prompts: Sequence[Sequence[Element]],
    decoding: Decoding,
) -> list[Answer]:
    """The answers to requests whose sequences so far are `prompts`, all in one batch.

    `feedback` says whether a predicted feature is read again. Raises UsageError naming the case whose states are not
    finite.
    """
    asked = zip(requests, prompts, strict=True)
    rows = [Row(request, prompt, writer, decoding, feedback) for request, prompt in asked]
    batch = [row for row in rows if not row.done]
    if batch:
        states, memory = network.begin([row.read for row in batch], [row.begun for row in batch])
    while batch:
        _take(network, states, batch)
        for index, row in enumerate(batch):
            if row.done and row.keeps and row.kept is NOTHING:
                row.kept = memory.take_out(index, row.read)
        going = [index for index, row in enumerate(batch) if not row.done]
        if 2 * len(going) <= len(batch):
            batch = [batch[index] for index in going]
            if not batch:
                break
            memory.keep(going)
        states = network.go_on([PLACEHOLDER if row.done else row.next() for row in batch], memory)
    return [row.answer() for row in rows]


def _take(network: Network, states: Tensor, batch: Sequence[Row]) -> None:
    """Hands each row that goes on what it asks of its state: a feature, a token, both or neither."""
    finite = states.isfinite().all(-1).tolist()
    for row, sound in zip(batch, finite, strict=True):
        if not (sound or row.done):
            raise UsageError(
                f"case {row.name}: the language model's state is not finite; set dtype=float32 or bfloat16"
            )
    opening = [index for index, row in enumerate(batch) if not row.done and row.opens]
    choosing = [index for index, row in enumerate(batch) if not row.done and row.chooses]
    features = dict(zip(opening, network.features(states[opening]).cpu(), strict=True)) if opening else {}
    tokens = dict(zip(choosing, _tokens(network, states, batch, choosing), strict=True)) if choosing else {}
    for index, row in enumerate(batch):
        if not row.done:
            row.take(features.get(index), tokens.get(index))


def _tokens(network: Network, states: Tensor, batch: Sequence[Row], choosing: Sequence[int]) -> list[int]:
    logits = network.logits(states[list(choosing)])
    for scores, index in zip(logits, choosing, strict=True):
        scores[batch[index].banned()] = -torch.inf
    decoding = batch[0].decoding
    draws = torch.stack([batch[index].draw() for index in choosing]) if decoding.temperature else torch.zeros(0)
    chosen: list[int] = choose(logits, decoding.temperature, decoding.top_p, draws).tolist()
    return chosen


class Row:
    """One answer while it is being made.

    The network reads what is `read` at the beginning, and then each element that `next` gives; `take` hears what it
    made of it. `opens` is the modality of the element read last, where that is an opening tag; `chooses` says whether a
    token is asked for. `begun` is what the turn before has kept of this sequence, and `kept` what the next one needs.
    """

    def __init__(
        self, request: Request, prompt: Sequence[Element], writer: Writer, decoding: Decoding, feedback: bool
    ) -> None:
        self.name = request.name
        self.keeps = request.keep
        self.kept = NOTHING
        self.read = [*prompt]
        self.decoding = decoding
        self.done = False
        self.opens: Modality | None = None
        self._wanted = request.wanted_media
        self._writer, self._tags = writer, writer.tags
        self._feedback = feedback
        self._generator = torch.Generator("cpu").manual_seed(request.seed)
        self._words: list[int] = []
        self._features: list[Feature] = []
        self._appended: list[Element] = []
        self._unread: deque[Element] = deque()
        # Whether the model still decides what comes.
        self._free = decoding.is_free(request.wants)
        if not self._free:
            self._end()
        while self._unread:
            self.next()
        self.begun = request.kept if request.kept.begins(self.read) else NOTHING

    @property
    def chooses(self) -> bool:
        return not self._feedback if self.opens else not self._unread

    def next(self) -> Element:
        """The next element to be read."""
        element = self._unread.popleft()
        self.read.append(element)
        self.opens = self._tags.opened.get(element) if isinstance(element, int) else None
        return element

    def draw(self) -> Tensor:
        """The next number from 0 to 1 of this row's own."""
        return torch.rand((), generator=self._generator, dtype=torch.float64)

    def banned(self) -> list[int]:
        """The tokens that cannot come next."""
        if self.opens:
            return [*self._tags.all, *self._writer.ends]
        return [*(self._tags.closings if self.decoding.tags == "model" else self._tags.all)]

    def take(self, feature: Tensor | None, token: int | None) -> None:
        """Goes on: `feature` (dim,) where one was opened, `token` where one was asked for."""
        if self.opens and feature is not None:
            self._fill(self.opens, feature, token)
        elif token is not None:
            self._say(token)

    def answer(self) -> Answer:
        """The answer, once `done`."""
        said = self._writer.text(self._words).strip()
        return Answer(said, tuple(self._features), tuple(self._appended), self.kept)

    def _fill(self, modality: Modality, feature: Tensor, token: int | None) -> None:
        forced = not self._free and self.decoding.tags == "model"
        self._features.append(Feature(modality, feature, forced))
        self._append(normalize(feature, dim=-1)[None] if token is None else token)
        self._append(self._tags.closing(modality))
        if not self._free or self._full:
            self._end()

    def _say(self, token: int) -> None:
        if token in self._writer.ends:
            self._end()
            return
        self._append(token)
        if token not in self._tags.opened:
            self._words.append(token)
            if self._full:
                self._end()

    @property
    def _full(self) -> bool:
        return len(self._appended) >= self.decoding.max_new_tokens

    def _end(self) -> None:
        """The model has said what it had to say: opens what is wanted and still missing, in order, or is done."""
        self._free = False
        there = Counter(feature.modality for feature in self._features)
        for modality in self._wanted:
            if not there[modality]:
                self._append(self._tags.opening(modality))
                return
            there[modality] -= 1
        self.done = True

    def _append(self, element: Element) -> None:
        self._appended.append(element)
        self._unread.append(element)
