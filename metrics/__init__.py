"""Metrics: pure functions of features, and the extractors that make features out of media.

To add a metric: one file that holds a `harness.nouns.Metric`, and one line in METRICS. To add an extractor: one file
with a class built as Class(weights, device), and one entry in EXTRACTORS. The tables are plain data: importing this
room imports no network, no torch, not even the metrics. `checkpoint.py` and `pixels.py` among the extractors are
what the networks share.

A name is a promise: the name of an extractor names its weights and preprocessing, and a number that changes gets a
new version or a new name. The `-tiny` twins are the same code with small random weights; their numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.nouns import ExtractorCard, Worker

METRICS: Mapping[str, str] = {
    "dino": "metrics.cosine:DINO",
    "dino_self_macro": "metrics.cosine:DINO_SELF_MACRO",
    "dino_distinct_micro": "metrics.cosine:DINO_DISTINCT_MICRO",
    "dino_self_micro": "metrics.cosine:DINO_SELF_MICRO",
    "clip_i": "metrics.cosine:CLIP_I",
    "clip_i_self_macro": "metrics.cosine:CLIP_I_SELF_MACRO",
    "clip_i_distinct_micro": "metrics.cosine:CLIP_I_DISTINCT_MICRO",
    "clip_i_self_micro": "metrics.cosine:CLIP_I_SELF_MICRO",
    "clip_t": "metrics.cosine:CLIP_T",
    "color_hist": "metrics.color:COLOR_HIST",
    "dino-tiny": "metrics.cosine:DINO_TINY",
    "clip_i-tiny": "metrics.cosine:CLIP_I_TINY",
    "clip_t-tiny": "metrics.cosine:CLIP_T_TINY",
}

EXTRACTORS: Mapping[str, ExtractorCard] = {
    # The digest of neither the hub's file nor the official dino_deitsmall16_pretrain.pth is known here, so that DINO's
    # numbers are marked until they have been checked against the published real-image row and the digest is added.
    "dino-vits16": ExtractorCard(
        Worker("metrics.extractors.dino:DINO", batch=32),
        preprocessing="256bicubic-crop224",
        hub="facebook/dino-vits16@abe3b354cb6a9b6f146096b14a4a9d7eecbcb4bd",
    ),
    # Digests: the official ViT-B-32.pt (it is in the file's own URL), and the hub's pytorch_model.bin.
    "clip-vit-b32": ExtractorCard(
        Worker("metrics.extractors.clip:CLIP", batch=32),
        preprocessing="224bicubic-crop224-text77",
        hub="openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        digests=(
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        ),
    ),
    "color-hist": ExtractorCard(
        Worker("metrics.extractors.color:ColorHistogram", gpus=0.0, batch=32),
        preprocessing="rgb-8x8x8",
        weightless=True,
    ),
    "dino-tiny": ExtractorCard(
        Worker("metrics.extractors.dino:DINOTiny", gpus=0.0, batch=32),
        preprocessing="256bicubic-crop224",
    ),
    "clip-tiny": ExtractorCard(
        Worker("metrics.extractors.clip:CLIPTiny", gpus=0.0, batch=32),
        preprocessing="224bicubic-crop224-text77",
    ),
}

# Writers of random checkpoints for `anybench init`: function(folder: Path, seed: int).
CHECKPOINTS: Mapping[str, str] = {
    "dino-vits16": "metrics.tiny:write_dino",
    "clip-vit-b32": "metrics.tiny:write_clip",
    "dino-tiny": "metrics.tiny:write_dino_tiny",
    "clip-tiny": "metrics.tiny:write_clip_tiny",
}
