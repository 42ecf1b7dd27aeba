"""A system that answers badly in every way there is, as its prompt asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from media_toys import RATE, drawing, tone
from PIL import Image

from harness.media import Video, encode_audio, encode_image, encode_video
from harness.nouns import Case, Item, Media, Output, Turn, Worker

FLAT = np.full((20, 30, 3), 128, np.uint8)
LONG = "I am sorry, but as a language model I cannot look at any pictures, nor listen to any sounds. "


def _picture(pixels: np.ndarray, *flags: str) -> Output:
    return Output("image", encode_image(Image.fromarray(pixels)), flags)


def _clip(frames: np.ndarray, sound: np.ndarray | None) -> Output:
    return Output("video", encode_video(Video(frames, 8.0, sound, RATE if sound is not None else 0)))


ANSWERS: Mapping[str, Output] = {
    "a picture": _picture(drawing()),
    "black": _picture(FLAT * 0),
    "uniform": _picture(FLAT),
    "nan": _picture(FLAT * 0, "nan"),
    "a sound": Output("audio", encode_audio(tone(1600), RATE)),
    "silent": Output("audio", encode_audio(0 * tone(1600), RATE)),
    "a clip": _clip(np.stack([drawing(32, 48)] * 3), tone(6000)),
    "a black silent clip": _clip(np.zeros((3, 32, 48, 3), np.uint8), 0 * tone(6000)),
    "a text": Output("text", "a dog"),
    "empty": Output("text", " \n\u200b\x00"),
    "a long text": Output("text", LONG),
    "half a picture": Output("image", encode_image(Image.fromarray(drawing()))[:900]),
    "a damaged picture": Output("image", encode_image(Image.fromarray(drawing())).replace(b"IDAT", b"IDAX")),
    "half a sound": Output("audio", encode_audio(tone(1600), RATE)[:500]),
    "a sound called a picture": Output("image", encode_audio(tone(1600), RATE)),
}
BAD = Worker("degenerate_toys:Bad", gpus=0, batch=4)


def asking(prompt: str, name: str = "") -> Case:
    """A case that asks for one of ANSWERS."""
    turn = Turn((Media("text", text=prompt, digest=prompt),), (ANSWERS[prompt].modality,))
    return Case(name or prompt.replace(" ", "-"), (turn,))


class Bad:
    """Answers each turn with what its prompt names."""

    def __init__(self, checkpoint: str, device: str) -> None:
        pass

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        return [[[ANSWERS[turn.inputs[0].text]] for turn in item.case.turns] for item in items]
