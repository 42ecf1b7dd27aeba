"""The nouns of anybench: small frozen values, and the protocols between the rooms.

Data flows one way: Suite -> Case -> (System) -> Generation -> (Extractor) -> Features -> (Metric) -> Score -> Result.
Everything here is plain data that pickles, and importing it costs NumPy and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Modality = Literal["text", "image", "audio", "video"]

Noun = TypeVar("Noun")


def sent(kind: type[Noun]) -> type[Noun]:
    """Pickle a dataclass as a call of its class: what goes to workers by the thousand, at a third of the usual cost."""
    values = attrgetter(*(field.name for field in fields(kind)))  # type: ignore[arg-type]
    kind.__reduce__ = lambda self: (kind, values(self))  # type: ignore[method-assign]
    return kind


@sent
@dataclass(frozen=True, slots=True)
class Media:
    """One piece of content: text inline, anything else an encoded file.

    `uri` is a local path in the cases of a suite, a path relative to the store in what is stored, and a full
    path or URL in what systems and extractors are handed: `harness.media` opens it.
    `digest` is the SHA-256 (hex) of the encoded bytes, of the UTF-8 bytes for text; empty until it is known.
    """

    modality: Modality
    text: str = ""
    uri: str = ""
    digest: str = ""


@sent
@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a case, in the order a conversation asks them.

    `inputs` are interleaved: text and media in the order the system reads them. `wants` names the modality of each
    output that is expected, in order. `parts` is what the metrics may look at, by role ("reference", "prompt" for
    the scored text, "source", "mask", ...); no system sees it, except the oracle.
    """

    inputs: tuple[Media, ...]
    wants: tuple[Modality, ...]
    parts: Mapping[str, tuple[Media, ...]] = field(default_factory=dict)


@sent
@dataclass(frozen=True, slots=True)
class Case:
    """One item of a suite: one turn for most suites, several for a conversation.

    `id` is stable, unique in its suite and safe as a file name ([A-Za-z0-9._-]); it is never the prompt's text.
    `tags` are the columns that tables group by and statistics cluster by (subject, task, ...).
    """

    id: str
    turns: tuple[Turn, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a suite found in a data folder: its cases in plan order, and a line for each thing that is absent there.

    A line about one cluster begins with the cluster's tag and value: "subject dog8: no folder ...".
    `size` is how many cases the complete suite has where the data folder says so itself, as one that was built does;
    0 where the suite says it.
    """

    cases: tuple[Case, ...]
    absent: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark: cases, how often each is sampled, and how answers become one number.

    `read(data)` takes the data folder and returns its Listing; it raises `harness.errors.UsageError` where the
    layout is not the published one. `size` is the number of cases of the complete suite, so that coverage can be
    stated; a Listing may say otherwise of its own folder. `embedded` is the folder of data the repo ships, used when no
    data is given ("" when there is none).
    `policy` says in a word which references are used; it is part of every signature.
    `aggregate`: "macro" is the mean over samples, then over the cases of a cluster, then over clusters; "micro" is the
    flat mean over samples. `cluster` is the tag whose values are the independent units of the statistics.
    `oracle` is the suite that the `oracle` system answers instead, where the published oracle row is something other
    than answering every case with its target.
    """

    name: str
    version: int
    read: Callable[[str], Listing]
    size: int
    samples: int
    metrics: tuple[str, ...]
    policy: str
    cluster: str
    aggregate: Literal["macro", "micro"] = "macro"
    groups: tuple[str, ...] = ()
    embedded: str = ""
    table: str = ""
    oracle: Suite | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One suite answered by one system: everything that can change an answer, and nothing else.

    `data`, `weights` and `code` (the source of the system, harness.identity.digest_code) are digests. `id`
    (harness.identity.run_id) is the name of its folder in the store.
    """

    suite: str
    version: int
    data: str
    system: str
    system_version: int
    code: str
    weights: str
    seed: int
    settings: Mapping[str, str]


@sent
@dataclass(frozen=True, slots=True)
class Item:
    """One unit of generation: a case, the number of the sample, and the seed that (run seed, case, sample) gives."""

    case: Case
    sample: int
    seed: int


@dataclass(frozen=True, slots=True)
class Output:
    """What a system answers: text, or encoded bytes (PNG or JPEG, FLAC or WAV, MP4) for the other modalities.

    `flags` is what only the system knows to be wrong with it: "nan", "safety_checked". `trace` is the feature vector
    that the system made it from (float32, little-endian), where it was asked to tell; nothing scores it.
    """

    modality: Modality
    data: str | bytes
    flags: tuple[str, ...] = ()
    trace: bytes = b""


@sent
@dataclass(frozen=True, slots=True)
class Generation:
    """One turn of one sample of one case as it was answered, or why it was not.

    `batch` names the batch of the plan it was made in and `batch_size` how many were really made together, so that
    an answer of a retry in a smaller batch is told apart. `seconds` is wall time a sample, `peak_memory` bytes on
    the device (0 on CPU). `degenerate` says what is wrong with an answer that is there (harness.degenerate): such an
    answer is scored like any other, counted, and shown beside the score. `traces` has the trace of each output, or is
    empty where there is none.
    """

    case: str
    sample: int
    turn: int
    outputs: tuple[Media, ...] = ()
    error: str = ""
    batch: int = 0
    batch_size: int = 0
    seconds: float = 0.0
    device: str = ""
    peak_memory: int = 0
    degenerate: tuple[str, ...] = ()
    traces: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """A feature a metric needs: one extractor applied to parts of a turn.

    `of` names parts of the turn, or "output" for what was generated, or "input". One part gives one row for each of
    its media; several (a pair: SSIM, LPIPS) give one row for each combination, and the extractor sees them together.
    """

    extractor: str
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Features:
    """Rows of one feature, and whose each row is.

    `values` (rows, dim) float; `case` (rows,) str; `turn` (rows,) int; `sample` and `output` (rows,) int: which sample,
    and which of the turn's outputs; -1 where the row belongs to the case itself (its references, its prompt).
    """

    values: NDArray[Any]
    case: NDArray[np.str_]
    turn: NDArray[np.int64]
    sample: NDArray[np.int64]
    output: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Metric:
    """A pure function of features, and what its numbers mean.

    `compute(**features)` gets one `Features` for each entry of `needs`. At level "sample" it returns one value for
    each row of the need called "output", NaN where a row has nothing to be compared with (it is then reported as
    not scored, never averaged); at level "set" it returns one float for all rows together, and raises UsageError where
    they are too few for one.
    `range` is inclusive; a value outside it (by more than rounding) is an error, not a score. `paired` is False where
    no output is compared with the references of its own case: a distance between the two sets. `draws` says that a
    number of the whole set rests on parts of it that it draws: it has no interval, since leaving rows out draws others.
    """

    name: str
    version: int
    level: Literal["sample", "set"]
    better: Literal["higher", "lower"]
    range: tuple[float, float]
    needs: Mapping[str, Need]
    compute: Callable[..., Any]
    paired: bool = True
    draws: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """One finite number. What could not be scored has no Score: absence is a missing row, never NaN or 0."""

    metric: str
    case: str
    turn: int
    sample: int
    output: int
    value: float


@dataclass(frozen=True, slots=True)
class Result:
    """What reports read: one metric over one group ("" is the whole suite), with how much of it was scored.

    `low` and `high` bound a 95 % interval over clusters, by the bootstrap for a mean and by the jackknife for a number
    of the whole set; None where there are fewer than two. `known_weights` is False where the digest of the weights that
    made the number is not one that the extractor knows. `degenerate` is how many of the scored outputs belong to a
    sample that is degenerate; `references` how many different references a number of the whole set rests on.
    """

    metric: str
    group: str
    value: float
    low: float | None
    high: float | None
    scored: int
    expected: int
    signature: str
    known_weights: bool = True
    degenerate: int = 0
    references: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a suite was asked for: named cases (none: all), a limit of them ("": none), samples of each."""

    samples: int
    limit: str = ""
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run says of itself when a command ends: `--json`, MLflow, tables and the leaderboard are views of it.

    `expected` counts samples of the complete suite, `planned` those that this command was asked for (a limit makes it
    smaller), `generated` and `failed` the answers among the planned. `failures` are the first few failed ones, by name
    and error; `degenerate` counts the answered samples with each flag. `absent` names what was asked for and is not
    there (subjects, weights, metrics), one line each. `provenance` is versions, platform and command line; `started`
    is ISO 8601, UTC.
    """

    run_id: str
    store: str
    run: Run
    checkpoint: str
    selection: Selection
    expected: int
    planned: int
    generated: int
    failed: int
    failures: tuple[str, ...]
    degenerate: Mapping[str, int]
    absent: tuple[str, ...]
    results: tuple[Result, ...]
    table: str
    started: str
    provenance: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every sample of the complete suite was answered and scored, and nothing asked for is absent."""
        scored = all(one.scored == one.expected for one in self.results if not one.group)
        return self.generated == self.expected and not self.failed and not self.absent and scored


@dataclass(frozen=True, slots=True)
class Worker:
    """Names a heavy class without importing it, and says what one copy of it needs.

    `build` is "module:Class", called as Class(checkpoint, device, **settings) for a system and
    Class(weights, device) for an extractor. `version` goes up whenever its answers change. `checkpoint` says
    whether one must be given ("required"), may be ("optional") or cannot ("none").
    `in_driver` keeps it in the driver's process, for a system that reads what only the driver can see.
    `sees_parts` hands it the parts of each turn too: for what answers with the target.
    `check` is "module:function", called by the driver as check(checkpoint, cases, samples) before anything runs.
    """

    build: str
    version: int = 1
    gpus: float = 1.0
    batch: int = 8
    checkpoint: Literal["required", "optional", "none"] = "none"
    in_driver: bool = False
    sees_parts: bool = False
    check: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExtractorCard:
    """An extractor by name: who builds it, where its weights come from, and what it does to its input.

    `hub` is "org/name@revision" ("" when the weights are on no hub); `weightless` extractors need none. `digests` are
    the SHA-256 of weight files that are known to be the published ones; any other digest is marked wherever its
    numbers are shown. `preprocessing` and `dtype` are short words that become part of signatures.
    `shipped` is the folder of the weights that the software itself brings ("metrics/tiny/shipped/dino"), used where no
    others are given; every machine finds it in its own copy of the software.
    """

    worker: Worker
    preprocessing: str
    dtype: str = "fp32"
    hub: str = ""
    shipped: str = ""
    weightless: bool = False
    digests: tuple[str, ...] = ()


class System(Protocol):
    """A generator under test, built once in each worker, on its device.

    Built as Class(checkpoint, device, **settings): `checkpoint` is a local path or "" and `device` is "cpu" or "cuda";
    the settings are keyword-only parameters annotated str, int, float or bool, so that `--set key=value` is checked.
    """

    def generate(self, items: Sequence[Item]) -> Sequence[Sequence[Sequence[Output]]]:
        """Answers: for each item, for each turn of its case, the outputs in the order of `turn.wants`.

        The same case may stand in a batch several times, with different samples and seeds; randomness comes from
        `item.seed` alone. Any exception fails the batch; it is then tried again item by item, and what fails alone
        becomes an error row.
        """
        ...


class Conversational(Protocol):
    """A system that can also be talked to, a turn at a time (`anybench chat`)."""

    def converse(self, seed: int) -> Callable[[Sequence[Media]], list[Output]]:
        """A new conversation: a function that answers the next inputs with all that there is to say to them.

        What it draws comes of `seed` and of what was said before. Where it raises, Ctrl-C's KeyboardInterrupt included,
        the turn was never said: the next one is answered as if there had been none.
        """
        ...


class Extractor(Protocol):
    """Media to features: an embedder, a tagger, a transcriber."""

    def extract(self, batch: Sequence[tuple[Media, ...]]) -> NDArray[Any]:
        """Features of shape (len(batch), dim), row i for batch[i]; must not depend on the neighbours in the batch."""
        ...
