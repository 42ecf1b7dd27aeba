"""Pictures with Pillow: encoded bytes to RGB of 8 bit, as seen."""

from __future__ import annotations

import io
import logging
import warnings

import numpy as np
from PIL import Image, ImageOps

from harness._files import Limits, MediaError, within

# What is wrong with a picture is raised; Pillow would also say it on stderr, where no logging is set up.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")


def decode_image(data: bytes, limits: Limits) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unreadable EXIF, and Pillow's own pixel limit, which ours replaces
        try:
            with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as header:
                within(header.width * header.height, limits.pixels, "pixels")
                header.verify()
        except Image.DecompressionBombError as error:
            raise MediaError(f"over the limit of {limits.pixels:,} pixels ({error})") from error
        image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        image.load()
        return image


def rgb(image: Image.Image) -> Image.Image:
    seen = _eight_bit(_upright(image))
    if seen.has_transparency_data:
        layer = seen.convert("RGBA")
        seen = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    seen = seen.convert("RGB")
    seen.info.clear()
    return seen


def _upright(image: Image.Image) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ImageOps.exif_transpose(image)
        except SyntaxError:  # what Pillow raises for EXIF that is none; viewers then show the picture as it is stored
            return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise MediaError(f"pixels of mode {image.mode} state no range; save it as 8 or 16 bit")
    if not image.mode.startswith("I;16"):
        return image
    levels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
