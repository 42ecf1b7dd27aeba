"""A system to talk to that is easily predicted: it remembers, draws, sings and films, fails, and can be interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

import torch
from media_toys import clip, picture, sound, tone

from harness.errors import UsageError
from harness.nouns import Media, Output, Worker

MADE = {
    "draw": Output("image", picture("PNG"), ("forced_tag",)),
    "sing": Output("audio", sound("FLAC", "PCM_16", tone(800))),
    "film": Output("video", clip()),
}


class Parrot:
    """Answers with its seed and all that it was told, then with a medium for each word that asks for one.

    "fail" is its user's fault, "crash" its own, "too much" its device's; at "interrupt" Ctrl-C is hit while it thinks.
    "nothing" has it say nothing at all, and "say X" nothing but X.
    """

    def __init__(self, checkpoint: str, device: str, *, mood: str = "good") -> None:
        if mood == "bad":
            raise UsageError("mood=bad: not today")

    def converse(self, seed: int) -> Callable[[Sequence[Media]], list[Output]]:
        told: list[str] = []

        def reply(inputs: Sequence[Media]) -> list[Output]:
            text = " ".join(one.text or f"<{one.modality}>" for one in inputs)
            _suffer(text)
            told.append(text)
            if text == "nothing":
                return []
            if text.startswith("say "):
                return [Output("text", text.removeprefix("say ").replace("ESC", "\x1b").replace("BREAK", "\n"))]
            words = Output("text", f"{seed}: {' | '.join(told)}")
            return [words, *(MADE[word] for word in text.split() if word in MADE)]

        return reply


def _suffer(text: str) -> None:
    if "fail" in text:
        raise UsageError("case chat: the prompt\nis \x1b[31m4 positions too long")
    if "crash" in text:
        raise ArithmeticError("a bug")
    if "too much" in text:
        raise torch.OutOfMemoryError("CUDA out of memory")
    if "interrupt" in text:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    if "wait" in text:
        print("waiting", flush=True)
        time.sleep(60)


def check(checkpoint: str, cases: Sequence[object], samples: int) -> None:
    """Refuses the checkpoint called broken."""
    if checkpoint.endswith("broken"):
        raise UsageError(f"{checkpoint}: is broken")


PARROT = Worker("chat_toys:Parrot", gpus=0, checkpoint="required", check="chat_toys:check")
