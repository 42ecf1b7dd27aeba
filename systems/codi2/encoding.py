"""Media to the vectors that the language model reads: ImageBind, and the norms that a checkpoint was trained with.

Every distinct medium of a batch is encoded once, all of a modality together. Nothing is remembered from batch to batch:
what a medium's vectors are to the last bit may depend on what was encoded beside it, and a run that was resumed must
find the batch as it was.

Source: docs/codi2.md, points 4 and 5, after the released code (microsoft/i-Code at 9b16730, CoDi-2/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.media import read_audio, read_image, read_video
from harness.nouns import Media, Modality
from systems.codi2.description import Reading
from systems.imagebind.fbank import RATE
from systems.imagebind.model import ImageBind
from systems.imagebind.preprocessing import images, sounds, videos
from systems.imagebind.tokenizer import tokenize

# Media that go through the towers at once: pictures are 257 tokens, sounds 3 x 229 and videos 15 x 257.
TOGETHER: Mapping[Modality, int] = {"image": 64, "audio": 32, "video": 4, "text": 256}
TOWERS: Mapping[Modality, str] = {"image": "vision", "audio": "audio", "video": "vision", "text": "text"}


@dataclass(frozen=True)
class Encoder:
    """ImageBind as CoDi-2 reads it.

    With `input_norms` "unit" the pooled vector of every medium has norm 1. With "released" they are ImageBind's own:
    norm 1 for a picture, 20 for a sound, the learned scale for a text, as the released code feeds them to the one
    projector. A picture's vectors are those of all its tokens, class token first, divided by the class token's norm.
    """

    model: ImageBind
    reading: Reading

    @torch.inference_mode()
    def encode(self, media: Sequence[Media]) -> dict[Media, Tensor]:
        """For each distinct medium its vectors (n, dim), float32, on the CPU; MediaError for an unreadable one."""
        found: dict[Media, Tensor] = {}
        for modality, together in TOGETHER.items():
            own = list(dict.fromkeys(one for one in media if one.modality == modality))
            for batch in _cut(own, together):
                found.update(zip(batch, self._vectors(modality, batch).float().cpu(), strict=True))
        return found

    def _vectors(self, modality: Modality, media: Sequence[Media]) -> Tensor:
        """(len(media), n, dim)"""
        inputs = self._inputs(modality, media)
        if modality == "image":
            tokens: Tensor = self.model.image_tokens(inputs)
            tokens = tokens / tokens[:, :1].norm(dim=-1, keepdim=True)
            return tokens[:, : self.reading.image_tokens]
        pooled: Tensor = self.model.embed(TOWERS[modality], inputs)
        if self.reading.input_norms == "unit":
            pooled = normalize(pooled, dim=-1)
        return pooled[:, None]

    def _inputs(self, modality: Modality, media: Sequence[Media]) -> Tensor:
        """Media as their tower takes them, on its device and, but for ids, in its dtype."""
        config, weights = self.model.config, next(self.model.parameters())
        assert config.vision and config.text and config.audio
        match modality:
            case "text":
                return tokenize([one.text for one in media], config.text.context, config.text.vocabulary).to(
                    weights.device
                )
            case "image":
                inputs = images([read_image(one) for one in media], config.vision)
            case "audio":
                inputs = sounds([read_audio(one, RATE) for one in media], config.audio)
            case "video":
                inputs = videos([read_video(one) for one in media], config.vision)
        return inputs.to(weights.device, weights.dtype)


def _cut(media: Sequence[Media], together: int) -> Iterator[Sequence[Media]]:
    for start in range(0, len(media), together):
        yield media[start : start + together]
