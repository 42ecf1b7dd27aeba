"""What is said to the language model and what it answers: plain values, before and after any token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.errors import UsageError
from harness.nouns import Modality


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """A medium as the input projector takes it: `values` (n, dim) float32.

    Pictures, sounds and videos stand between their tags; a "text" is a phrase given as one vector, without tags.
    """

    modality: Modality
    values: Tensor


# A str is words of the user: whatever stands in it, a tag or the end of a sequence, is read as plain text.
Part = str | Vectors

# What a sequence is made of: a token's id, or (n, dim) float32 vectors for the input projector.
Element = int | Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """What was predicted for one output: `values` (dim,) float32, as the output projector gives it, on the CPU.

    `forced` says that the model ended without asking for this wanted output, so that its tag was appended.
    """

    modality: Modality
    values: Tensor
    forced: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """One sequence that was read: its elements, and for each layer its keys and values (heads, positions, width)."""

    elements: tuple[Element, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]

    def begins(self, sequence: Sequence[Element]) -> bool:
        """Whether a longer sequence begins with it: the same ids, and the very same vectors."""
        pairs = zip(self.elements, sequence, strict=False)
        same = all(own is other if isinstance(own, Tensor) else own == other for own, other in pairs)
        return same and len(sequence) > len(self.elements)


NOTHING = Kept((), ())


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One answer: its words (tags and slots left out, stripped), and its features in the order of their tags.

    `appended` is what the answer added to the sequence, exactly: words and tags as ids, each slot as the (1, dim)
    vector that was fed back (or the id of the token that took its place). The token that ended it is not among them.
    `kept` is what was read of the conversation up to here, where the request asked for it.
    """

    text: str
    features: tuple[Feature, ...]
    appended: tuple[Element, ...]
    kept: Kept = NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """A question and its answer; None while it is being asked."""

    question: tuple[Part, ...]
    answer: Answer | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A conversation whose last exchange is to be answered.

    `wants` names the outputs that are expected, in order. `seed` decides what is sampled. `name` is the case's, for
    errors. With `keep` the answer has what the next turn need not read again.
    """

    exchanges: tuple[Exchange, ...]
    wants: tuple[Modality, ...]
    seed: int
    name: str
    keep: bool = False

    @property
    def kept(self) -> Kept:
        """What was read for the turn before."""
        before = self.exchanges[-2].answer if len(self.exchanges) > 1 else None
        return before.kept if before else NOTHING

    @property
    def wanted_media(self) -> tuple[Modality, ...]:
        """What needs a feature."""
        return tuple(modality for modality in self.wants if modality != "text")


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen.

    `temperature` 0 takes the likeliest; above, tokens are drawn from softmax(logits / temperature), cut to the fewest
    likeliest ones whose probabilities add up to `top_p`, in (0, 1]. `max_new_tokens` >= 1 bounds what the model adds by
    itself: words, tags and slots alike (an output that it has begun is finished). With `tags` "model" it asks for
    outputs by opening tags; those that are wanted and missing at its end are appended, in order. With "forced" the
    wanted tags alone are appended, after words (without any tag) where a text is wanted too, or nothing is.

    Raises UsageError for a value out of range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    tags: str = "model"

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature={self.temperature}: must be at least 0; 0 takes the likeliest token")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p={self.top_p}: must be above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens={self.max_new_tokens}: must be at least 1")
        if self.tags not in ("model", "forced"):
            raise UsageError(f"tags={self.tags}: must be one of model, forced")

    def is_free(self, wants: Sequence[Modality]) -> bool:
        """Whether the model adds anything by itself before what is wanted is appended."""
        return self.tags == "model" or "text" in wants or not wants
