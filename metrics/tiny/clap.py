"""clap-tiny: sounds of the drawn world and what they are called, in one space.

As CLAP (Wu et al. 2023, arXiv 2211.06687), a sound's words are told from those of all others of its batch, and the
words' sound likewise; no two of a batch have the same words. Linear heads that are thrown away name the events, from
sounds and from words. It learns from the set "metrics" alone: stems, and sums of those that may be heard together.

Its tokenizer is RoBERTa's with merges of its own: each word that sounds are called by is one token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from torch.nn import functional
from transformers import ClapFeatureExtractor, ClapModel, RobertaTokenizer

from harness.drawn_world import RATE, World, read_world
from harness.media import resampled
from harness.recipes import Figure, share
from metrics.extractors import clap
from metrics.tiny.fitting import Course, exact, fit
from metrics.tiny.hearing import Hearing, caption, events_of, held_out_pairs, mixed, presence
from metrics.tiny.learning import HEADS_SCALE, contrast, cosines, save_halved

SHIPPED = Path(__file__).parent / "shipped" / "clap"
OWN_SEED = 54_000
COURSE = Course(steps=450, rate=4e-3, watch=75)
BATCH = 40
NAMING = 4.0
SOUNDS_AT_ONCE = 40
WATCHED = 80

# Of ClapFeatureExtractor: samples of a window and between two, the power below which all is silence.
WINDOW, HOP, FLOOR = 1024, 480, 1e-10


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Learns, writes, and says which words pairs of the set "validation" find."""
    seen, shown = read_world(data, "metrics"), read_world(data, "validation")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN_SEED + seed)
        lesson = Lesson(seen, OWN_SEED + seed).train()
        fit(lesson, COURSE, lesson.loss, lambda: lesson.watched(shown))
    config = {**clap.TINY.config().to_dict(), "architectures": ["ClapModel"]}
    save_halved(lesson.network.state_dict(), folder, config)
    lesson.tokenizer.save_pretrained(folder)
    return measure(folder, shown)


def held_out(data: Path) -> Mapping[str, Figure]:
    """The figures of the shipped weights on the set "test"."""
    return measure(SHIPPED, read_world(data, "test"))


class Lesson(nn.Module):
    """The network, the heads, and how wrong they are about sounds that are drawn for them."""

    def __init__(self, seen: World, seed: int) -> None:
        super().__init__()
        self.network: ClapModel = clap.build(clap.TINY)
        for layer in self.network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0  # so few units cannot spare any
        self.head = nn.Linear(clap.TINY.dim, len(seen.events))
        self.seen = seen
        self.stems = at_its_rate(seen.stems)
        self.hearing = Hearing(seen, seed)
        self.spectrum = Spectrum()
        self.tokenizer = tokenizer_of([caption(seen, seen.events), "silence"], clap.TINY.text.vocabulary)

    def loss(self) -> Tensor:
        """Of one batch: which words belong to which sound, and what is heard in both."""
        rows = self._different()
        sounds = np.stack([self.hearing.mix(self.stems, own) for own in rows])
        heard, said = self.listen(sounds), self.read([caption(self.seen, events_of(self.seen, own)) for own in rows])
        present = presence(self.seen, rows)
        events, told = torch.from_numpy(present), torch.from_numpy(self.hearing.told(present))
        named = [
            functional.binary_cross_entropy_with_logits(
                self.head(HEADS_SCALE * functional.normalize(one)), events, told, reduction="sum"
            )
            / told.sum()
            for one in (heard, said)
        ]
        return contrast(heard, said) + NAMING * torch.stack(named).sum()

    def listen(self, sounds: NDArray[np.float32]) -> Tensor:
        """Embeddings of sounds of two seconds, (n, dim)."""
        with exact(), torch.no_grad():
            features = self.spectrum(sounds)
        embeddings: Tensor = self.network.get_audio_features(input_features=features).pooler_output
        return embeddings.float()

    def read(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of words, (n, dim)."""
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        embeddings: Tensor = self.network.get_text_features(**tokens).pooler_output
        return embeddings.float()

    def watched(self, shown: World) -> str:
        """How many of the first pairs of a set find their words among those of all pairs."""
        rows = held_out_pairs(shown)[:WATCHED]
        stems = at_its_rate(shown.stems[np.unique(rows)])
        places = np.searchsorted(np.unique(rows), rows)
        pairs = list(combinations(shown.events, 2))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            heard = self.listen(np.stack([mixed(stems, own) for own in places])).numpy()
            said = self.read([caption(shown, pair) for pair in pairs]).numpy()
        return f"pairs found {found(heard, said, pairs, [events_of(shown, own) for own in rows]).mean():.3f}"

    def _different(self) -> list[tuple[int, ...]]:
        """Rows of the stems of each sound of a batch, no two of the same events."""
        drawn: dict[tuple[str, ...], tuple[int, ...]] = {}
        while len(drawn) < BATCH:
            rows = self.hearing.draw()
            drawn.setdefault(events_of(self.seen, rows), rows)
        return list(drawn.values())


class Spectrum:
    """What ClapFeatureExtractor makes of a sound of two seconds, which it repeats five times; computed once.

    The two differ in the first and last frames, where the extractor mirrors the sound.
    """

    def __init__(self) -> None:
        front_end = ClapFeatureExtractor(frequency_min=50)
        self.filters = torch.from_numpy(front_end.mel_filters_slaney).float()
        self.window = torch.hann_window(WINDOW)

    def __call__(self, sounds: NDArray[np.float32]) -> Tensor:
        """Log-mel in dB, (n, 1, 1001, 64), of sounds at 48 kHz (n, 96000)."""
        waves = torch.from_numpy(np.stack([clap.prepare(sound) for sound in sounds]))
        around = functional.pad(waves[:, None], (WINDOW // 2,) * 2, "circular")[:, 0]
        spectrum = torch.stft(around, WINDOW, HOP, window=self.window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        frames = 10 * torch.log10((power.transpose(1, 2) @ self.filters).clamp(min=FLOOR))
        once = waves.shape[1] // HOP
        return frames[:, torch.arange(clap.SAMPLES // HOP + 1) % once][:, None]


def tokenizer_of(texts: Iterable[str], vocabulary: int) -> RobertaTokenizer:
    """RoBERTa's tokenizer with merges that make one token of each word, filled up with tokens that no text has."""
    learned = Tokenizer(BPE())
    learned.pre_tokenizer = ByteLevel(add_prefix_space=False)
    alphabet = sorted(ByteLevel.alphabet())
    words = sorted({word for text in texts for word in text.replace(",", " ,").split()})
    trainer = BpeTrainer(vocab_size=vocabulary - 5, show_progress=False, initial_alphabet=alphabet)
    learned.train_from_iterator([f"{word} {word}" for word in words], trainer)
    merges = [(one, other) for one, other in json.loads(learned.to_str())["model"]["merges"]]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, *dict.fromkeys(one + other for one, other in merges)]
    tokens += [f"unused{index}" for index in range(len(tokens), vocabulary - 1)] + ["<mask>"]
    return RobertaTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)  # type: ignore[arg-type]


def at_its_rate(stems: NDArray[np.int16]) -> NDArray[np.int16]:
    """Stems at 48 kHz, as `harness.media` resamples what it reads: (n, 96000)."""
    at_rate = [resampled(stem.astype(np.float32), RATE, clap.RATE) for stem in stems]
    return np.stack(at_rate).round().astype(np.int16)


def measure(folder: Path, shown: World) -> Mapping[str, Figure]:
    """How often a held-out pair of sounds is nearest to its own words, among those of all 120 pairs."""
    extractor = clap.CLAPTiny(str(folder), "cpu")
    rows = held_out_pairs(shown)
    heard = []
    for begin in range(0, len(rows), SOUNDS_AT_ONCE):
        sounds = [mixed(shown.stems, own) for own in rows[begin : begin + SOUNDS_AT_ONCE]]
        prepared = [clap.prepare(resampled(sound, RATE, clap.RATE)) for sound in sounds]
        heard.append(extractor.embed_sounds(prepared))
    pairs = list(combinations(shown.events, 2))
    said = extractor.embed_texts([caption(shown, pair) for pair in pairs])
    right = found(np.concatenate(heard), said, pairs, [events_of(shown, own) for own in rows])
    return {"pairs found": share(right.tolist())}


def found(
    heard: NDArray[np.float32],
    said: NDArray[np.float32],
    pairs: Sequence[tuple[str, ...]],
    truths: Sequence[tuple[str, ...]],
) -> NDArray[np.bool_]:
    """Of which sounds (n, dim) the nearest words (pairs, dim) are its own."""
    nearest = cosines(heard, said).argmax(axis=1)
    return np.array([pairs[place] == truth for place, truth in zip(nearest, truths, strict=True)])
