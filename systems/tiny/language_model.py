"""The tiny preset's language model: a small Llama that speaks of the drawn world, trained from nothing in words alone.

What a tiny CoDi-2 is asked (systems.tiny.tasks) is read in the form that Llama 2 Chat was trained with, each picture
and each sound told in words. Mostly the answers are trained (`QUESTION_WEIGHT`): the words of a question are random,
and what there is to be learned of them drowns what there is to be learned from them. Lengths are alike within a batch.

Written: config.json, generation_config.json, model.safetensors (float16), tokenizer.json, tokenizer_config.json.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.drawn_world import read_world
from harness.recipes import Figure, share
from systems.codi2.conversation import Exchange, Request
from systems.codi2.llama import load_llama, load_tokenizer
from systems.codi2.sequence import Tags, Writer
from systems.diffusers_pipeline import quiet
from systems.tiny.spelling import LONGEST, tokenizer
from systems.tiny.task_drawing import NAMES, Tasks
from systems.tiny.tasks import Known, Task, spoken
from systems.tiny.words import Lexicon

SHIPPED = Path(__file__).parent / "shipped" / "language_model"
QUESTION_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Training:
    """How long, how fast and how much: `steps` of about `tokens` each, drawn and sorted by length `pool` at a time.

    `measured` tasks of each name are tried at the end, `glanced` each time that it is said how far it is.
    """

    steps: int = 1000
    tokens: int = 3072
    pool: int = 16
    rate: float = 3e-3
    matrix_rate: float = 3e-3
    warm: int = 30
    measured: int = 200
    glanced: int = 30
    report_seconds: float = 60.0

    def scale(self, step: int) -> float:
        """What the rates are multiplied with: up, then down to nothing along a cosine."""
        if step < self.warm:
            return (step + 1) / self.warm
        return 0.5 + 0.5 * math.cos(math.pi * (step - self.warm) / (self.steps - self.warm))


TRAINING = Training()
# How often each task is drawn: the more there is to be learned in it, the more often.
SHARES: Mapping[str, float] = {
    "make": 0.5,
    "describe": 0.5,
    "edit": 2.0,
    "subject": 2.0,
    "compose": 3.0,
    "exemplar": 3.0,
    "concept": 2.5,
    "converse": 1.5,
    "sound": 0.5,
    "listen": 0.5,
    "add": 1.0,
    "drop": 1.0,
    "replace": 1.5,
    "exemplar_sound": 2.0,
    "converse_sound": 0.5,
    "say": 0.7,
    "chat": 0.1,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A task as tokens; `answered` says which are of answers, their ends too, and from `last` on it is the last one."""

    ids: tuple[int, ...]
    answered: tuple[bool, ...]
    last: int


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Writes the language model of a world; the shares of the validation split's tasks that it answers to the word."""
    return train_with(TRAINING, data, folder, seed)


def train_with(training: Training, data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """The same, as long as `training` says."""
    world = read_world(data, "training")
    lexicon, known = Lexicon.of(world), Known.of(world)
    spelling = tokenizer(lexicon)
    spelling.save_pretrained(folder)
    batches = _batches(Tasks(lexicon, known, known, Random(seed)), spelling, training, Random(seed + 1))
    tried = tried_rows(data, "validation", spelling, training.measured)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config(len(spelling)))
        model.set_attn_implementation("eager")  # torch's own is twice as slow on a CPU: its backward pass in bfloat16
        some = {name: rows[: training.glanced] for name, rows in tried.items()}
        for step in _steps(model, batches, training):
            print(f"{step}; {_shown(measured(model, some))}", file=sys.stderr, flush=True)
            _save(model, folder)
    return measured(load_llama(folder, torch.float32), tried)


def held_out(data: Path) -> Mapping[str, Figure]:
    """What the shipped model answers to the word, of tasks that ask for what the test split alone may show."""
    model = load_llama(SHIPPED, torch.float32)
    spelling = load_tokenizer(SHIPPED, model.config.vocab_size)
    return measured(model, tried_rows(data, "test", spelling, TRAINING.measured))


def config(vocabulary: int) -> LlamaConfig:
    """The shape of the model."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=LONGEST,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )


def read(task: Task, lexicon: Lexicon, spelling: PreTrainedTokenizerFast) -> Row:
    """A task in words alone, as systems.codi2.sequence writes conversations."""
    writer = Writer(spelling, Tags(len(spelling)), "llama2-chat")
    ids: list[int] = []
    answered: list[bool] = []
    for one in task.rounds:
        exchange = Exchange((spoken(one.question, lexicon),))
        question = [int(element) for element in writer.prompt(Request((exchange,), ("text",), 0, task.name))]
        answer = [*spelling(one.answer, add_special_tokens=False)["input_ids"], spelling.eos_token_id]
        last = len(ids) + len(question)
        ids += question + answer
        answered += [False] * len(question) + [True] * len(answer)
    return Row(tuple(ids), tuple(answered), last)


def tried_rows(data: Path, split: str, spelling: PreTrainedTokenizerFast, count: int) -> Mapping[str, Sequence[Row]]:
    """`count` tasks of each name that ask for what this split alone may show; the same for everyone."""
    world = read_world(data, "training")
    lexicon, known = Lexicon.of(world), Known.of(world)
    held = Known.of(read_world(data, split)).without(known)
    tasks = Tasks(lexicon, known.with_(held), held, Random(split))
    return {name: [read(tasks.draw(name), lexicon, spelling) for _ in range(count)] for name in NAMES}


@torch.no_grad()
def measured(model: LlamaForCausalLM, tried: Mapping[str, Sequence[Row]]) -> Mapping[str, Figure]:
    """Of each task's rows, the share whose last answer is the likeliest token by token, as greedy decoding gives it."""
    return {f"{name}: answers to the word": share(list(_exact(model, rows))) for name, rows in tried.items()}


def _exact(model: LlamaForCausalLM, rows: Sequence[Row]) -> Iterator[bool]:
    for start in range(0, len(rows), 50):
        some = rows[start : start + 50]
        ids, _ = _tensors(some)
        right = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1) == ids[:, 1:]
        for row, hits in zip(some, right, strict=True):
            yield bool(hits[row.last - 1 : len(row.ids) - 1].all())


def _batches(
    tasks: Tasks, spelling: PreTrainedTokenizerFast, training: Training, random: Random
) -> Iterator[Sequence[Row]]:
    """Rows of like length, about `tokens` in all, without an end."""
    names, shares = list(SHARES), list(SHARES.values())
    while True:
        rows: list[Row] = []
        total = 0
        while total < training.pool * training.tokens:
            rows.append(read(tasks.draw(random.choices(names, shares)[0]), tasks.lexicon, spelling))
            total += len(rows[-1].ids)
        cut = list(_cut(sorted(rows, key=lambda row: len(row.ids)), training.tokens))
        random.shuffle(cut)
        yield from cut


def _cut(rows: Sequence[Row], tokens: int) -> Iterator[Sequence[Row]]:
    some: list[Row] = []
    for row in rows:
        if some and (len(some) + 1) * len(row.ids) > tokens:
            yield some
            some = []
        some.append(row)
    yield some


def _steps(model: LlamaForCausalLM, batches: Iterator[Sequence[Row]], training: Training) -> Iterator[str]:
    """Trains; now and then, and at the end, says how far it is."""
    optimizers = _optimizers(model, training)
    schedules = [LambdaLR(optimizer, training.scale) for optimizer in optimizers]
    started = said = time.monotonic()
    losses: list[float] = []
    for step in range(1, training.steps + 1):
        model.train()
        loss = _loss(model, next(batches))
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        losses.append(loss.item())
        now = time.monotonic()
        if now - said > training.report_seconds or step == training.steps:
            model.eval()
            left = (now - started) / step * (training.steps - step)
            yield f"step {step} of {training.steps}, {left:.0f} s left, loss {sum(losses) / len(losses):.3f}"
            said, losses = time.monotonic(), []


def _optimizers(model: LlamaForCausalLM, training: Training) -> Sequence[Optimizer]:
    """Muon for the matrices within the layers, Adam for all else."""
    inner = [weight for name, weight in model.named_parameters() if "layers" in name and weight.ndim == 2]
    outer = [weight for name, weight in model.named_parameters() if "layers" not in name or weight.ndim != 2]
    return (
        Muon(inner, training.matrix_rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        AdamW(outer, training.rate, betas=(0.9, 0.98), weight_decay=0.01),
    )


def _loss(model: LlamaForCausalLM, rows: Sequence[Row]) -> Tensor:
    ids, weights = _tensors(rows)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    losses = cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def _tensors(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Ids (rows, longest), and what each counts, nothing where it is padding: on the right, so that none is seen."""
    longest = max(len(row.ids) for row in rows)
    ids, weights = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        weights[number, : len(row.ids)] = torch.tensor([1.0 if one else QUESTION_WEIGHT for one in row.answered])
    return ids, weights


def _save(model: LlamaForCausalLM, folder: Path) -> None:
    """In float16; what is trained on stays as it is."""
    with quiet():
        halved = {name: tensor.half() for name, tensor in model.state_dict().items()}
        model.save_pretrained(folder, state_dict=halved, safe_serialization=True)


def _shown(figures: Mapping[str, Figure]) -> str:
    return ", ".join(f"{name.split(':')[0]} {figure.value:.2f}" for name, figure in figures.items())
