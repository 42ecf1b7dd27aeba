"""`python -m metrics.tiny.train PART --data DIR`: trains a metric's network of the tiny preset in the drawn world."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from harness.recipes import main

SHIPPED = Path(__file__).parent / "shipped"

PARTS: Mapping[str, str] = {
    "judge": "metrics.tiny.judge:train",
    "sound-judge": "metrics.tiny.sound_judge:train",
    "dino": "metrics.tiny.dino:train",
    "clip": "metrics.tiny.clip:train",
    "cnn14": "metrics.tiny.cnn14:train",
    "clap": "metrics.tiny.clap:train",
}

if __name__ == "__main__":
    sys.exit(main(PARTS, SHIPPED, sys.argv[1:]))
