#!/usr/bin/env python3
"""A CoDi-2 state dict, by the names of the released code, as a checkpoint's folder (docs/codi2.md).

python runners/convert_codi2.py STATE_DICT FOLDER --imagebind SOURCE --language-model SOURCE --image-decoder SOURCE \
    --lora-alpha NUMBER
"""

import sys
from collections.abc import Sequence
from pathlib import Path

# A script's own folder comes first on the path, where its neighbours would shadow other packages.
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from harness.errors import UsageError, warn
from runners.options import Parser

SOURCE = "a path, or a hub id as org/name@revision"


def main(arguments: Sequence[str]) -> int:
    """Converts; returns the exit status: 0, 2 for a mistake of the caller, 3 for a hub id that cannot be had."""
    try:
        asked = _parser().parse_args(arguments)
        # It imports torch.
        from systems.codi2.convert import Sources, convert

        sources = Sources(asked.imagebind, asked.language_model, asked.image_decoder)
        convert(Path(asked.state_dict), Path(asked.folder), sources, asked.lora_alpha)
    except UsageError as error:
        warn(str(error))
        return error.exit_status
    print(asked.folder)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="convert_codi2.py", description=__doc__)
    parser.add_argument("state_dict", help=".pt, .pth, .bin (tensors only) or .safetensors")
    parser.add_argument("folder", help="the checkpoint to write; backbones may lie in it already")
    parser.add_argument("--imagebind", required=True, metavar="SOURCE", help=f"imagebind_huge.pth: {SOURCE}")
    parser.add_argument("--language-model", required=True, metavar="SOURCE", help=f"Llama-2-7b-chat-hf: {SOURCE}")
    parser.add_argument("--image-decoder", required=True, metavar="SOURCE", help=f"Stable unCLIP: {SOURCE}")
    parser.add_argument(
        "--lora-alpha", required=True, type=float, metavar="NUMBER",
        help="of the training: a state dict does not hold it, and the paper's was not published (256, twice the rank, "
        "is usual)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
