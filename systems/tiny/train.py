"""`python -m systems.tiny.train PART --data DIR`: trains a part of the tiny preset in the drawn world."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from harness.recipes import main

SHIPPED = Path(__file__).parent / "shipped"

PARTS: Mapping[str, str] = {
    "imagebind": "systems.tiny.imagebind:train",
    "image_decoder": "systems.tiny.image_decoder:train",
    "sound_decoder": "systems.tiny.sound_decoder:train",
    "language_model": "systems.tiny.language_model:train",
}

if __name__ == "__main__":
    sys.exit(main(PARTS, SHIPPED, sys.argv[1:]))
