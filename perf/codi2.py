#!/usr/bin/env python3
"""CoDi-2: batched generation beside the loop that one writes for a paper, over the same modules, in one process.

    .venv/bin/anybench init codi2-tiny TINY
    .venv/bin/python perf/codi2.py --checkpoint TINY --steps 10
    .venv/bin/python perf/codi2.py --random full --device cuda        the paper's sizes, without any file, on a GPU

The loop (perf/codi2_peer.py) answers one sample of one case after the other; ours is the system `codi2`, in batches.
Both have the same modules, dtype, device, attention and threads, loading is not timed, both are warmed up, and they
take turns, batch by batch, so that what else the machine does meets both. The cases are the first of dreambench-mini,
each with all of its photographs.

Batching is more than wide tensors: a photograph is encoded once a batch, and a greedy answer is asked for once a case,
not once a sample. So everything is measured with one sample a case and with several; wide tensors alone are what the
column "decode" shows.

Printed: seconds a picture by stage, the ratios, and how much of the rate of a plain matrix product in the same dtype
the image decoder reaches. Exit status 1 where the two differ by more than the tolerance of the dtype.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from codi2_parts import Built, make, read, speak_at_once  # noqa: E402
from codi2_peer import Drawn, Peer, Stopwatch  # noqa: E402

from benchmarks.dreambench import DREAMBENCH_MINI  # noqa: E402
from harness.generation import plan  # noqa: E402
from harness.nouns import Item, Output  # noqa: E402
from systems.codi2.conversation import Decoding  # noqa: E402
from systems.codi2.image_decoder import Sampling  # noqa: E402
from systems.codi2.model import Model, Parts, Settings  # noqa: E402
from systems.codi2.sizes import FULL, TINY  # noqa: E402
from systems.codi2.sound_decoder import SoundSampling  # noqa: E402
from systems.codi2.system import generate  # noqa: E402
from systems.codi2.video_decoder import VideoSampling  # noqa: E402
from systems.diffusers_pipeline import DTYPES  # noqa: E402

STAGES = ("encode", "language", "decode")
GIB = 2**30


@dataclass(frozen=True)
class Tolerance:
    """The most that two answers may differ: a feature by its length, pictures in levels of 0 to 255."""

    feature: float
    largest: float
    mean: float


# In float32 wide and narrow products differ in their last bits. In bfloat16 every layer rounds, and the loop's pipeline
# keeps even its latents in it: single pixels may differ by anything. The state one position off gives pictures that are
# 30 levels off on average at tiny size.
TOLERANCES = {
    "float32": Tolerance(feature=1e-4, largest=2, mean=0.01),
    "bfloat16": Tolerance(feature=0.05, largest=255, mean=4),
}


@dataclass
class Difference:
    """How far answers are apart: features by their length, pictures in levels of 0 to 255."""

    features: list[float] = field(default_factory=list)
    pictures: list[NDArray[np.int16]] = field(default_factory=list)

    def add(self, one: Drawn, other: Drawn) -> None:
        """Compares two answers to one item."""
        self.features.append(float((one.feature - other.feature).norm() / one.feature.norm()))
        self.pictures.append(np.abs(_levels(one.png) - _levels(other.png)))

    def within(self, tolerance: Tolerance) -> bool:
        """Whether all of it is tolerable; NaN is not."""
        return self.feature <= tolerance.feature and self.largest <= tolerance.largest and self.mean <= tolerance.mean

    @property
    def feature(self) -> float:
        """The largest."""
        return float(np.max(self.features))

    @property
    def largest(self) -> int:
        """Of all pixels."""
        return int(np.max(self.pictures))

    @property
    def mean(self) -> float:
        """Of all pixels."""
        return float(np.mean(self.pictures))


class Side:
    """One of the two: how it answers, and what that has cost since `begin`."""

    def __init__(self, answer: Callable[[Sequence[Item]], list[Drawn]], watch: Stopwatch) -> None:
        self._answer, self._watch = answer, watch
        self.peak = 0

    def begin(self) -> None:
        """Forgets what was measured."""
        self._watch.seconds.clear()
        self.peak = 0

    def answers(self, items: Sequence[Item]) -> list[Drawn]:
        """A picture for each item."""
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        with self._watch.timed("all"):
            drawn = self._answer(items)
        if torch.cuda.is_initialized():
            self.peak = max(self.peak, torch.cuda.max_memory_allocated())
        return drawn

    def seconds(self, pictures: int) -> list[float]:
        """Seconds a picture: of each stage, of what is left, and of all."""
        named = [self._watch.seconds[stage] / pictures for stage in STAGES]
        total = self._watch.seconds["all"] / pictures
        return [*named, total - sum(named), total]


class Timed:
    """A part of which one method is timed; all else is the part's own."""

    def __init__(self, part: Any, method: str, watch: Stopwatch, stage: str) -> None:
        self._part, self._method, self._watch, self._stage = part, method, watch, stage

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._watch.timed(self._stage)(found) if name == self._method else found


def batched(parts: Parts, device: str, decoding: Decoding, sampling: Sampling) -> Side:
    """The system itself, all items as one batch. It brings the parts to the device."""
    watch = Stopwatch()
    timed: dict[str, Any] = {
        "encoder": Timed(parts.encoder, "encode", watch, "encode"),
        "language_model": Timed(parts.language_model, "answer", watch, "language"),
        "image_decoder": Timed(parts.image_decoder, "decode", watch, "decode"),
    }
    settings = Settings(decoding, sampling, SoundSampling(), VideoSampling(), trace=True)
    model = Model(replace(parts, **timed), device, settings)
    return Side(lambda items: [_drawn(output) for [[output]] in generate(model, items)], watch)


def measure(loop: Side, ours: Side, batches: Sequence[Sequence[Item]]) -> Difference:
    """Both answer all batches, in turns, after they were warmed up: ours with every size of batch."""
    for batch in (batches[0], batches[-1]):
        ours.answers(batch)
    loop.answers(batches[0][:1])
    loop.begin()
    ours.begin()
    difference = Difference()
    for batch in batches:
        for one, other in zip(loop.answers(batch), ours.answers(batch), strict=True):
            difference.add(one, other)
    return difference


def decoder_work(parts: Parts, sampling: Sampling) -> float:
    """Operations (a multiplication and an addition are 2) that drawing one picture takes: UNet, all steps, and VAE.

    Counted on the meta device, where attention is plain products, whatever the real one has for it.
    """
    module = parts.image_decoder.module
    size, branches = module.unet.config, 2 if sampling.guidance_scale > 1 else 1
    with torch.device("meta"), torch.no_grad():
        unet, vae = UNet2DConditionModel.from_config(size), AutoencoderKL.from_config(module.vae.config)
        latents = torch.empty(branches, size.in_channels, size.sample_size, size.sample_size)
        context = torch.empty(branches, module.context.shape[1], size.cross_attention_dim)
        classes = torch.empty(branches, size.projection_class_embeddings_input_dim)
        with FlopCounterMode(display=False) as step:
            unet(latents, torch.empty(()), context, class_labels=classes)
        with FlopCounterMode(display=False) as last:
            vae.decode(latents[:1])
    return float(sampling.steps * step.get_total_flops() + last.get_total_flops())


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a product of square matrices: the best of 20, after which no GPU is cold."""
    side = 2048 if device == "cpu" else 8192
    one, other = torch.randn(2, side, side, device=device).to(dtype)
    seconds = []
    for _ in range(20):
        watch = Stopwatch()
        with watch.timed("product"):
            one @ other
        seconds.append(watch.seconds["product"])
    return 2 * side**3 / min(seconds)


def report(loop: Side, ours: Side, difference: Difference, pictures: int, ideal: float) -> None:
    """The table; `ideal` is the seconds in which a picture would be decoded at the rate of a matrix product."""
    print(f"{'seconds a picture':<18}" + "".join(f"{name:>10}" for name in (*STAGES, "rest", "all", "a second")))
    slow, quick = loop.seconds(pictures), ours.seconds(pictures)
    for name, side, seconds in (("one by one", loop, slow), ("batched", ours, quick)):
        share = f"   decoder at {ideal / seconds[STAGES.index('decode')]:.1%}"
        memory = f", peak {side.peak / GIB:.1f} GiB" if side.peak else ""
        print(f"{name:<18}" + "".join(f"{cell:>10.4f}" for cell in (*seconds, 1 / seconds[-1])) + share + memory)
    print(f"{'ratio':<18}" + "".join(f"{one / other:>10.2f}" for one, other in zip(slow, quick, strict=True)))
    print(f"largest relative difference of a feature {difference.feature:.1e}")
    print(f"pictures differ by {difference.largest} levels at most, {difference.mean:.4f} on average", flush=True)


def main() -> None:
    """Measure with one sample a case, then with several."""
    asked = _arguments()
    dtype, sampling, decoding = DTYPES[asked.dtype], Sampling(asked.steps), Decoding()
    built = _built(asked, dtype)
    ours = batched(built.parts, asked.device, decoding, sampling)
    peer = Peer(built, decoding, sampling)
    loop = Side(lambda items: [peer.draw(item) for item in items], peer.watch)
    cases = DREAMBENCH_MINI.read(DREAMBENCH_MINI.embedded).cases[: asked.cases]
    if asked.random:
        speak_at_once(built, [peer.prompt(item, peer.encode(item)) for item in plan(cases, 1, 0, len(cases))[0].items])
    work, rate = decoder_work(built.parts, sampling), matrix_rate(asked.device, dtype)
    print(f"{_device(asked.device)}, {asked.dtype}, PyTorch {torch.__version__}; {asked.steps} steps")
    print(f"the decoder's work: {work / 1e12:.4g} TFLOP a picture; a matrix product: {rate / 1e12:.4g} TFLOP/s")
    tolerable = True
    for samples in (1, asked.samples):
        batches = [batch.items for batch in plan(cases, samples, 0, asked.batch)]
        print(f"\n{len(cases)} cases, {samples} of each, in batches of {asked.batch}")
        difference = measure(loop, ours, batches)
        report(loop, ours, difference, samples * len(cases), work / rate)
        tolerable = tolerable and difference.within(TOLERANCES[asked.dtype])
    print(f"\n{'within' if tolerable else 'NOT WITHIN'} {TOLERANCES[asked.dtype]}")
    sys.exit(0 if tolerable else 1)


def _built(asked: argparse.Namespace, dtype: torch.dtype) -> Built:
    if asked.checkpoint:
        return read(asked.checkpoint, dtype, asked.channels_last, asked.compile)
    size = FULL if asked.random == "full" else TINY
    return make(size, asked.device, dtype, asked.channels_last, asked.compile)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--checkpoint", type=Path)
    weights.add_argument("--random", choices=("tiny", "full"), help="random weights of this size, made on the device")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=tuple(TOLERANCES), help="float32 on the CPU, bfloat16 on a GPU")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="the image decoder's networks, which both use")
    parser.add_argument("--channels-last", action="store_true", help="the same")
    asked = parser.parse_args()
    asked.dtype = asked.dtype or ("float32" if asked.device == "cpu" else "bfloat16")
    return asked


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _drawn(output: Output) -> Drawn:
    assert isinstance(output.data, bytes)
    return Drawn(torch.frombuffer(bytearray(output.trace), dtype=torch.float32), output.data)


def _levels(png: bytes) -> NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


if __name__ == "__main__":
    main()
