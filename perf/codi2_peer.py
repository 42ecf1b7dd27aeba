"""CoDi-2 as one writes it for a paper: one sample of one case after the other, batch 1, on stock libraries.

For each sample: ImageBind, photograph by photograph; the prompt's embeddings; `generate` of transformers until the
opening tag has been read; the state at that tag through the output projector; `StableUnCLIPImg2ImgPipeline` of
diffusers with a DDIM scheduler; PNG. Nothing is done that the picture does not need: decoding ends with the tag's
state, and the negative tags are encoded once, before the clock starts.

It is given the modules of the system that it is measured beside, not copies of them. Its noise is drawn in float32 as
there, or in bfloat16 the two would draw different pictures.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from codi2_parts import Built
from diffusers import DDIMScheduler, DDPMScheduler, StableUnCLIPImg2ImgPipeline
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteriaList

from harness.media import encode_image, read_image
from harness.nouns import Item, Media
from systems.codi2.conversation import Decoding, Element, Exchange, Request, Vectors
from systems.codi2.image_decoder import Sampling
from systems.codi2.pieces import Slot
from systems.codi2.prompts import pieces_of
from systems.imagebind.preprocessing import images


class Stopwatch:
    """Seconds by stage; a GPU is waited for at both ends of each."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds what is done meanwhile to the stage."""
        start = _now()
        yield
        self.seconds[stage] += _now() - start


@dataclass(frozen=True)
class Drawn:
    """A predicted feature (dim,), float32 on the CPU, and the PNG made from it."""

    feature: Tensor
    png: bytes


class Peer:
    """The script, over modules that are on their device; `watch` times its stages."""

    def __init__(self, built: Built, decoding: Decoding, sampling: Sampling) -> None:
        parts = built.parts
        self.watch = Stopwatch()
        self._imagebind = parts.encoder.model
        self._image_tokens = parts.encoder.reading.image_tokens
        self._network = parts.language_model.network
        self._context = parts.image_decoder.module.context
        self._feature_scale = parts.feature_scale
        self._writer = built.writer
        self._decoding, self._sampling = decoding, sampling
        self._pipeline = _pipeline(parts.image_decoder.module, built.noise_schedule)

    @torch.inference_mode()
    def draw(self, item: Item) -> Drawn:
        """The picture of one sample of a case that wants one."""
        with self.watch.timed("encode"):
            vectors = self.encode(item)
        with self.watch.timed("language"):
            feature = self._feature(self.prompt(item, vectors))
        with self.watch.timed("decode"):
            image = self._decode(feature, item.seed)
        return Drawn(feature.cpu(), encode_image(image))

    @torch.inference_mode()
    def encode(self, item: Item) -> dict[Media, Tensor]:
        """For each photograph (tokens, dim), by the norm of the class token's vector."""
        photographs = [media for media in item.case.turns[0].inputs if media.modality == "image"]
        weight = next(self._imagebind.parameters())
        vectors = {}
        for photograph in photographs:
            pixels = images([read_image(photograph)], self._imagebind.config.vision).to(weight.device, weight.dtype)
            tokens = self._imagebind.image_tokens(pixels)[0]
            vectors[photograph] = (tokens / tokens[0].norm())[: self._image_tokens]
        return vectors

    def prompt(self, item: Item, vectors: Mapping[Media, Tensor]) -> list[Element]:
        """The case as one sequence."""
        case, turn = item.case, item.case.turns[0]
        assert turn.wants == ("image",), f"case {case.id}"
        question = tuple(
            Vectors("image", vectors[piece.media]) if isinstance(piece, Slot) else piece.text
            for piece in pieces_of(case, turn)
        )
        return self._writer.prompt(Request((Exchange(question),), turn.wants, item.seed, case.id))

    def _feature(self, prompt: Sequence[Element]) -> Tensor:
        """What the model predicts at its first <image>, which is appended where it ends without one."""
        tag = self._writer.tags.opening("image")
        embeddings = self._network.embed([prompt])
        produced = self._network.llama.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device),
            generation_config=self._generation(),
            # The state at a token comes with the step after the one that chose it.
            stopping_criteria=StoppingCriteriaList([lambda ids, scores, **_: (ids[:, :-1] == tag).any(-1)]),
        )
        tokens: list[int] = produced.sequences[0].tolist()
        if tag in tokens[:-1]:
            state = produced.hidden_states[tokens.index(tag) + 1][-1][:, -1]
        else:
            said = [token for token in tokens if token not in {tag, *self._writer.ends}]
            read = torch.cat([embeddings, self._network.embed([[*said, tag]])], dim=1)
            state = self._network.llama.model(inputs_embeds=read).last_hidden_state[:, -1]
        return self._network.output_projector(state.float())[0]

    def _generation(self) -> GenerationConfig:
        ends = sorted(self._writer.ends)
        return GenerationConfig(
            max_new_tokens=self._decoding.max_new_tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0],
            suppress_tokens=list(self._writer.tags.closings),
            output_hidden_states=True,
            return_dict_in_generate=True,
        )

    def _decode(self, feature: Tensor, seed: int) -> Any:
        """A PIL image. The generator's first numbers are the feature's noise, the next ones the latents."""
        unet = self._pipeline.unet
        ahead = torch.Generator("cpu").manual_seed(seed)
        torch.randn(len(feature), generator=ahead)
        side = unet.config.sample_size
        latents = torch.randn((1, unet.config.in_channels, side, side), generator=ahead)
        answer = self._pipeline(
            image_embeds=feature[None] * self._feature_scale,
            prompt_embeds=self._context,
            negative_prompt_embeds=self._context,
            generator=torch.Generator("cpu").manual_seed(seed),
            latents=latents.to(self._context.device, unet.dtype),
            noise_level=self._sampling.noise_level,
            num_inference_steps=self._sampling.steps,
            guidance_scale=self._sampling.guidance_scale,
        )
        return answer.images[0]


class StableUnCLIPInFloat32(StableUnCLIPImg2ImgPipeline):
    """diffusers' pipeline, whose class vectors are rounded to the UNet's dtype after the noise is added."""

    def noise_image_embeddings(self, image_embeds: Tensor, *positional: Any, **named: Any) -> Tensor:
        return super().noise_image_embeddings(image_embeds, *positional, **named).to(self.unet.dtype)


def _pipeline(module: Any, noise_schedule: Mapping[str, Any]) -> Any:
    """The pipeline of an image decoder's own modules, its scheduler DDIM as the released code's."""
    scheduler = DDIMScheduler.from_config(
        noise_schedule, timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False, clip_sample=False
    )
    pipeline = StableUnCLIPInFloat32(
        feature_extractor=None,
        # Nothing is encoded with it: the pipeline asks what its dtype is.
        image_encoder=module.unet,
        image_normalizer=module.image_normalizer,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=None,
        text_encoder=None,
        unet=module.unet,
        scheduler=scheduler,
        vae=module.vae,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
