#!/usr/bin/env python3
"""Real photographs embedded with DINO ViT-S/16 and CLIP ViT-B/32: anybench beside the straightforward script.

    .venv/bin/anybench init dino-vits16 DINO; .venv/bin/anybench init clip-vit-b32 CLIP
    .venv/bin/python perf/embedding.py PHOTOGRAPHS DINO CLIP

The script is what one writes for a paper: for each photograph and each network, open the file, the network's published
transform, one forward pass, append. It may use every core (PyTorch's default). anybench extracts on as many workers of
one thread as there are cores. Both get the same weights (random ones measure as well as published ones), decode
every file themselves, and are timed when their networks are loaded. Printed: photographs a second, the ratio, and the
largest difference of the embeddings, relative to their length.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("PYTHONPATH", str(ROOT))

from harness.extraction import Missing, Row, Source, extract, read_vectors  # noqa: E402
from harness.identity import digest_file  # noqa: E402
from harness.nouns import Media  # noqa: E402
from harness.ray_pool import RayPool  # noqa: E402
from harness.store import Store  # noqa: E402
from harness.weights import extractor_weights  # noqa: E402
from metrics import EXTRACTORS  # noqa: E402
from metrics.extractors import clip, dino  # noqa: E402

Embeddings = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Network:
    """A network of the script: its published transform, and one picture's embedding."""

    transform: transforms.Compose
    model: torch.nn.Module
    clip: bool

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """(dim,)"""
        if self.clip:
            return self.model.get_image_features(pixel_values=pixels[None]).pooler_output[0]
        return self.model(pixels[None]).last_hidden_state[0, 0]


def published_transform(size: int, mean: Sequence[float], std: Sequence[float]) -> transforms.Compose:
    """As the DINO and CLIP repositories write it."""
    resize = transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC)
    steps = [resize, transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(mean, std)]
    return transforms.Compose(steps)


def script(files: Sequence[Path], networks: dict[str, Network]) -> tuple[dict[str, Embeddings], float]:
    """One photograph after the other; embeddings by network and file, and seconds."""
    found: dict[str, Embeddings] = {name: {} for name in networks}
    start = time.perf_counter()
    with torch.no_grad():
        for file in files:
            for name, network in networks.items():
                pixels = network.transform(Image.open(file).convert("RGB"))
                found[name][str(file)] = network.embed(pixels).numpy()
    return found, time.perf_counter() - start


def anybench(files: Sequence[Path], weights: dict[str, str]) -> tuple[dict[str, Embeddings], float]:
    """The extraction stage; its workers are warmed up with one photograph each before the clock starts."""
    found: dict[str, Embeddings] = {}
    seconds = 0.0
    rows = [_row(file) for file in files]
    pool = RayPool()
    with tempfile.TemporaryDirectory(prefix="anybench-perf-") as folder:
        store = Store.at(folder)
        for name, path in weights.items():
            card = EXTRACTORS[name]
            card = replace(card, worker=replace(card.worker, batch=8))
            source = Source.of(name, card, extractor_weights(name, card, path), store, "runs/perf")
            stages = ExtractStages(source, store, pool)
            seconds += stages.timed(rows)
            vectors = read_vectors(source)
            found[name] = {str(file): vectors[row.key] for file, row in zip(files, rows, strict=True)}
    pool.close()
    return found, seconds


@dataclass(frozen=True)
class ExtractStages:
    """One extraction, timed from its first finished batch: loading the networks is not embedding."""

    source: Source
    store: Store
    pool: RayPool

    def timed(self, rows: Sequence[Row]) -> float:
        """Seconds for all rows, the first batches' share taken from the rate of the others."""
        marks: list[tuple[float, int]] = []
        report = lambda done, failed: marks.append((time.perf_counter(), done))  # noqa: E731
        errors = extract(self.source, Missing.of(self.source, rows), self.store, self.pool, True, report)
        assert not errors, errors
        (begin, first), (end, _) = marks[0], marks[-1]
        return (end - begin) * len(rows) / (sum(done for _, done in marks) - first)


def _row(file: Path) -> Row:
    return Row(str(file), 0, -1, -1, (Media("image", uri=str(file), digest=digest_file(file)),))


def main() -> None:
    """Measure both, one after the other, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("dino")
    parser.add_argument("clip")
    asked = parser.parse_args()
    unique = {digest_file(file): file for file in sorted(asked.photographs.rglob("*.jpg"))}
    files = [file.resolve() for file in unique.values()]
    weights = {"dino-vits16": asked.dino, "clip-vit-b32": asked.clip}
    networks = {
        "dino-vits16": Network(
            published_transform(256, dino.TRANSFORM.mean, dino.TRANSFORM.std),
            dino.load(Path(asked.dino), dino.VITS16), False,
        ),
        "clip-vit-b32": Network(
            published_transform(224, clip.TRANSFORM.mean, clip.TRANSFORM.std),
            clip.load(Path(asked.clip), clip.VITB32), True,
        ),
    }  # fmt: skip
    for network in networks.values():
        network.model.set_attn_implementation("sdpa")  # transformers' default, and what a script gets
    script(files[:2], networks)
    theirs, slow = script(files, networks)
    ours, quick = anybench(files, weights)
    for name in weights:
        worst = max(_difference(ours[name][file], theirs[name][file]) for file in theirs[name])
        print(f"{name}: largest relative difference of an embedding {worst:.1e}")
    print(f"{len(files)} photographs; script {len(files) / slow:.2f}/s, anybench {len(files) / quick:.2f}/s")
    print(f"anybench / script: {slow / quick:.2f}")


def _difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


if __name__ == "__main__":
    main()
