"""clip-tiny: pictures of the drawn world and their captions in one space.

As CLIP (Radford et al. 2021, arXiv 2103.00020), a picture's caption is told from all others of its batch, and the
caption's picture likewise. Batches are of blocks that share two attributes, so that no caption is known by its colour
alone; linear heads that are thrown away name the five attributes, from pictures and from captions. It learns from the
set "metrics" alone. Tokens that no caption has are zeros: a word that it never read says nothing to it.

The rows of 49,408 tokens are stored in whole numbers of one byte. What is added to them on the way through the text
tower is normalised together with them whenever it is looked at, so that all of it may be larger by one factor (but for
LayerNorm's epsilon).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from transformers import CLIPModel

from harness.drawn_world import ATTRIBUTES, World, read_world
from harness.recipes import Figure, share
from metrics.extractors import clip
from metrics.tiny.fitting import Course, fit
from metrics.tiny.learning import contrast, cosines, heads_for, named_wrongly, save_halved
from metrics.tiny.seeing import FirstLayer, place_by_sines, start_from_components, through_the_extractor

SHIPPED = Path(__file__).parent / "shipped" / "clip"
OWN_SEED = 52_000
COURSE = Course(steps=600, rate=3e-3, watch=100)
BLOCKS, BLOCK = 12, 8
SHARED = 2
PICTURES_AT_ONCE = 50

# What is stored in bytes, and what is added to it.
TOKEN_ROWS = "text_model.embeddings.token_embedding.weight"
ADDED = re.compile(
    r"text_model\.(embeddings\.position_embedding|encoder\.layers\.\d+\.(self_attn\.out_proj|mlp\.fc2))\.(weight|bias)"
)


def train(data: Path, folder: Path, seed: int) -> Mapping[str, Figure]:
    """Learns, writes, and says which captions pictures of the set "validation" find."""
    seen, shown = read_world(data, "metrics"), read_world(data, "validation")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(OWN_SEED + seed)
        lesson = Lesson(seen, OWN_SEED + seed)
        fit(lesson, COURSE, lesson.loss, lambda: lesson.watched(shown))
    config = {**clip.TINY.config().to_dict(), "architectures": ["CLIPModel"]}
    save_halved(in_bytes(lesson.network.state_dict()), folder, config)
    return measure(folder, shown)


def held_out(data: Path) -> Mapping[str, Figure]:
    """The figures of the shipped weights on the set "test"."""
    return measure(SHIPPED, read_world(data, "test"))


class Lesson(nn.Module):
    """The network, the heads, and how wrong they are about what is drawn for them."""

    def __init__(self, seen: World, seed: int) -> None:
        super().__init__()
        self.network: CLIPModel = clip.build(clip.TINY)
        self.network.set_attn_implementation("sdpa")
        self.heads = heads_for(seen, ATTRIBUTES, clip.TINY.dim)
        self.seen = seen
        self.captions = np.array([picture.caption for picture in seen.pictures])
        self.classes = {name: seen.classes(name) for name in ATTRIBUTES}
        self.first = FirstLayer(clip.TINY.transform, clip.TINY.patch)
        self.tokenizer = SimpleTokenizer(context_length=clip.TOKENS)
        self.draws = np.random.default_rng(seed)
        start = self.network.vision_model.embeddings
        places = start.position_embedding.weight[1:]
        place_by_sines(places)
        with torch.no_grad():
            places += start_from_components(start.patch_embedding.weight, seen.pixels, clip.TINY.transform)
        self._forget_tokens_not_in(self.captions)

    def loss(self) -> Tensor:
        """Of one batch: which caption belongs to which picture, and what both say."""
        rows = np.array(list(self._alike()))
        pictures, texts = self.look(self.seen.pixels[rows]), self.read(self.captions[rows].tolist())
        classes = {name: own[rows] for name, own in self.classes.items()}
        return (
            contrast(pictures, texts)
            + named_wrongly(self.heads, pictures, classes)
            + named_wrongly(self.heads, texts, classes)
        )

    def look(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Embeddings of pictures, (n, dim)."""
        tower = self.network.vision_model
        patches = self.first.tokens(pictures, tower.embeddings.patch_embedding.weight)
        start = tower.embeddings.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([start, patches], dim=1) + tower.embeddings.position_embedding.weight
        hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(x)).last_hidden_state
        embeddings: Tensor = self.network.visual_projection(tower.post_layernorm(hidden[:, 0]))
        return embeddings.float()

    def read(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of captions, (n, dim)."""
        tokens = self.tokenizer(list(texts))
        longest = int(tokens.argmax(dim=1).max()) + 1
        embeddings: Tensor = self.network.get_text_features(input_ids=tokens[:, :longest]).pooler_output
        return embeddings.float()

    def watched(self, shown: World) -> str:
        """Which of their own captions the held-out pictures of a set find."""
        rows = [row for row, picture in enumerate(shown.pictures) if picture.change][:400]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            near = cosines(
                self.look(shown.pixels[rows]).numpy(), self.read([shown.pictures[row].caption for row in rows]).numpy()
            )
        captions = np.array([shown.pictures[row].caption for row in rows])
        return f"of {len({*captions.tolist()})} captions {np.mean(captions[near.argmax(axis=1)] == captions):.3f} found"

    def _alike(self) -> Iterator[int]:
        """Rows of pictures with different captions, in blocks that share some attributes."""
        taken: set[str] = set()
        for anchor in self.draws.integers(len(self.captions), size=BLOCKS):
            names = self.draws.choice(ATTRIBUTES, SHARED, replace=False)
            alike = np.all([self.classes[name] == self.classes[name][anchor] for name in names], axis=0)
            block = 0
            for row in self.draws.permutation(np.flatnonzero(alike)):
                if block < BLOCK and self.captions[row] not in taken:
                    taken.add(str(self.captions[row]))
                    block += 1
                    yield int(row)

    def _forget_tokens_not_in(self, captions: NDArray[np.str_]) -> None:
        known = torch.unique(self.tokenizer(sorted({*captions.tolist()})))
        rows = self.network.text_model.embeddings.token_embedding.weight
        with torch.no_grad():
            kept = rows[known].clone()
            rows.zero_()
            rows[known] = kept


def in_bytes(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The same network with the rows of tokens in whole numbers of one byte, rounded."""
    factor = 127 / state[TOKEN_ROWS].abs().max()
    stored = {name: factor * tensor if ADDED.fullmatch(name) else tensor for name, tensor in state.items()}
    return stored | {TOKEN_ROWS: (factor * state[TOKEN_ROWS]).round().to(torch.int8)}


def measure(folder: Path, shown: World) -> Mapping[str, Figure]:
    """How often a held-out picture is nearest to its own caption, and how often a change to its own words.

    "captions found": of the 1,152 combinations, all with what the picture has beside. "changes found": the direction
    from a group's first picture to a changed one, among the directions of all captions that differ by one attribute.
    """
    extractor = clip.CLIPTiny(str(folder), "cpu")
    pictures = np.concatenate(
        [
            extractor.embed_images(
                through_the_extractor(shown.pixels[begin : begin + PICTURES_AT_ONCE], clip.TINY.transform)
            )
            for begin in range(0, len(shown.pixels), PICTURES_AT_ONCE)
        ]
    )
    every = [dict(zip(ATTRIBUTES, values, strict=True)) for values in product(*shown.attributes.values())]
    texts = dict(
        zip(map(_key, every), extractor.embed_texts([caption(one, shown.where) for one in every]), strict=True)
    )
    firsts = {picture.group: row for row, picture in enumerate(shown.pictures) if not picture.change}
    found, followed = [], []
    for row, picture in enumerate(shown.pictures):
        if not picture.change:
            continue
        first = shown.pictures[firsts[picture.group]].values
        combinations = [one for one in every if one["extra"] == picture.values["extra"]]
        found.append(
            _nearest(pictures[row], [texts[_key(one)] for one in combinations], combinations) == picture.values
        )
        changes = [one for one in every if sum(one[name] != first[name] for name in ATTRIBUTES) == 1]
        directions = [_unit(texts[_key(one)]) - _unit(texts[_key(first)]) for one in changes]
        moved = _unit(pictures[row]) - _unit(pictures[firsts[picture.group]])
        followed.append(_nearest(moved, directions, changes) == picture.values)
    return {"captions found": share(found), "changes found": share(followed)}


def caption(values: Mapping[str, str], where: Mapping[str, str]) -> str:
    """As the world's own: "a red striped fish on the beach with a balloon"."""
    words = [values["colour"], *([] if values["pattern"] == "plain" else [values["pattern"]]), values["shape"]]
    beside = "" if values["extra"] == "nothing" else f" with a {values['extra']}"
    return f"{'an' if words[0] == 'orange' else 'a'} {' '.join(words)} {where[values['background']]}{beside}"


def _key(values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(values[name] for name in ATTRIBUTES)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / np.linalg.norm(vector))


def _nearest(
    vector: NDArray[np.float32], others: Sequence[NDArray[np.float32]], named: Sequence[Mapping[str, str]]
) -> Mapping[str, str]:
    return named[int(cosines(vector[None], np.stack(others)).argmax())]
