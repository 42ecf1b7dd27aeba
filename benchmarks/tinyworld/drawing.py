"""A scene as pixels: 64 x 64, drawn by Pillow at four times the size in whole numbers, so that the bytes repeat.

A subject is drawn like a sticker: flat colour, white stripes or dots that turn with it, a dark line around. Backgrounds
are a few flat fields, always the same, so that what an edit must keep is known to the pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.tinyworld.attributes import Pose, Scene, Subject

SIDE = 64
SCALE = 4
LINE = 2 * SCALE - 1

Point = tuple[float, float]
Polygon = Sequence[Point]

INK = {
    "red": (222, 38, 38),
    "orange": (250, 134, 22),
    "yellow": (252, 220, 50),
    "green": (28, 150, 62),
    "blue": (40, 92, 224),
    "purple": (132, 52, 178),
    "pink": (255, 128, 190),
    "brown": (118, 70, 34),
}
OUTLINE = (28, 24, 36)
WHITE = (255, 255, 255)


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The picture, (64, 64, 3) uint8."""
    picture = _background(scene.background).copy()
    _draw_extra(picture, scene.extra)
    _draw_subject(picture, scene.subject, scene.pose)
    return np.asarray(picture.reduce(SCALE))


def mask(scene: Scene) -> NDArray[np.uint8]:
    """Where the subject is, with its line: (64, 64) uint8, 255 inside, 0 outside."""
    silhouette = _silhouette(scene.subject.shape, scene.pose, Image.new("L", (SIDE * SCALE,) * 2))
    return np.asarray(silhouette.reduce(SCALE).point(lambda level: 255 if level > 0 else 0))


@cache
def _background(name: str) -> Image.Image:
    picture = Image.new("RGB", (SIDE * SCALE,) * 2)
    _BACKGROUNDS[name](_Brush(picture))
    return picture


class _Brush:
    """Draws in pixels of the finished picture."""

    def __init__(self, picture: Image.Image) -> None:
        self._draw = ImageDraw.Draw(picture)

    def field(self, top: float, bottom: float, colour: tuple[int, int, int]) -> None:
        """A band from left to right."""
        self._draw.rectangle((0, top * SCALE, SIDE * SCALE, bottom * SCALE - 1), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
        box = tuple(SCALE * value for value in (x - radius, y - radius, x + radius, y + radius))
        self._draw.ellipse(box, fill=colour)

    def polygon(self, points: Polygon, colour: tuple[int, int, int]) -> None:
        self._draw.polygon([(SCALE * x, SCALE * y) for x, y in points], fill=colour)


def _beach(brush: _Brush) -> None:
    brush.field(0, 26, (150, 214, 246))
    brush.field(26, 38, (36, 150, 196))
    brush.field(38, 64, (242, 220, 168))


def _snow(brush: _Brush) -> None:
    brush.field(0, 64, (176, 196, 214))
    brush.disc(14, 70, 36, (232, 240, 248))
    brush.disc(54, 74, 38, (244, 248, 252))


def _meadow(brush: _Brush) -> None:
    brush.field(0, 34, (206, 236, 250))
    brush.field(34, 64, (134, 204, 92))
    brush.disc(54, 9, 6, (255, 236, 130))


def _night(brush: _Brush) -> None:
    brush.field(0, 64, (20, 24, 66))
    brush.field(46, 64, (36, 44, 96))
    brush.disc(53, 10, 6, (244, 240, 206))
    brush.disc(50, 8, 5, (20, 24, 66))
    for x, y in ((8, 30), (20, 6), (34, 14), (58, 34), (6, 10)):
        brush.disc(x, y, 1, (250, 250, 220))


def _sunset(brush: _Brush) -> None:
    brush.field(0, 14, (112, 60, 124))
    brush.field(14, 28, (206, 84, 106))
    brush.field(28, 42, (250, 154, 92))
    brush.disc(14, 42, 8, (255, 224, 130))
    brush.field(42, 64, (66, 38, 78))


def _street(brush: _Brush) -> None:
    brush.field(0, 40, (196, 178, 164))
    for left in (4, 24, 44):
        brush.polygon(((left, 8), (left + 14, 8), (left + 14, 28), (left, 28)), (120, 132, 150))
    brush.field(40, 46, (150, 150, 150))
    brush.field(46, 64, (82, 84, 90))


_BACKGROUNDS: dict[str, Callable[[_Brush], None]] = {
    "beach": _beach,
    "snow": _snow,
    "meadow": _meadow,
    "night": _night,
    "sunset": _sunset,
    "street": _street,
}


def _draw_extra(picture: Image.Image, extra: str) -> None:
    """A balloon in the upper left corner, or a flag at the lower right."""
    brush = _Brush(picture)
    if extra == "balloon":
        brush.polygon(((7.5, 14), (8.5, 14), (8.5, 27), (7.5, 27)), OUTLINE)
        brush.disc(8, 9, 7, OUTLINE)
        brush.disc(8, 9, 6, (244, 60, 120))
        brush.disc(6, 7, 1.5, WHITE)
    elif extra == "flag":
        brush.polygon(((49, 42), (50.5, 42), (50.5, 63), (49, 63)), OUTLINE)
        brush.polygon(((50, 41), (63, 47), (50, 53)), OUTLINE)
        brush.polygon(((50.5, 43), (60.5, 47), (50.5, 51)), (60, 226, 200))


def _draw_subject(picture: Image.Image, subject: Subject, pose: Pose) -> None:
    inside = Image.new("L", picture.size)
    for polygon in _SHAPES[subject.shape]:
        ImageDraw.Draw(inside).polygon(_placed(polygon, pose), fill=255)
    skin = Image.new("RGB", picture.size, INK[subject.colour])
    skin.paste(WHITE, mask=_pattern(subject.pattern, pose, picture.size))
    picture.paste(OUTLINE, mask=_silhouette(subject.shape, pose, Image.new("L", picture.size)))
    picture.paste(skin, mask=inside)
    if subject.shape == "mug":
        _line(ImageDraw.Draw(picture), _placed(_MUG_SIDE, pose))


def _silhouette(shape: str, pose: Pose, canvas: Image.Image) -> Image.Image:
    """The shape with a line around it."""
    brush = ImageDraw.Draw(canvas)
    for polygon in _SHAPES[shape]:
        points = _placed(polygon, pose)
        brush.polygon(points, fill=255)
        brush.line([*points, points[0], points[1]], fill=255, width=2 * LINE, joint="curve")
    return canvas


def _line(brush: ImageDraw.ImageDraw, points: list[Point]) -> None:
    brush.line(points, fill=OUTLINE, width=LINE)


def _pattern(pattern: str, pose: Pose, size: tuple[int, int]) -> Image.Image:
    """Where a subject is white: three stripes, or dots on a lattice, in units of its radius and turned with it."""
    canvas = Image.new("L", size)
    brush = ImageDraw.Draw(canvas)
    if pattern == "striped":
        for top in (-0.86, -0.3, 0.26, 0.82):
            corners = ((-1.5, top), (1.5, top), (1.5, top + 0.26), (-1.5, top + 0.26))
            brush.polygon(_placed(corners, pose), fill=255)
    elif pattern == "dotted":
        for x, y in _DOTS:
            brush.polygon(_placed([(x + 0.17 * a, y + 0.17 * b) for a, b in _circle(20)], pose), fill=255)
    return canvas


_DOTS = [(0.55 * column + (0.275 if row % 2 else 0.0), 0.48 * row) for row in range(-2, 3) for column in range(-2, 3)]


def _placed(points: Polygon, pose: Pose) -> list[Point]:
    """Points in units of the radius, right and down of the subject's centre, as pixels of the large canvas.

    Rounded to whole pixels: the last bits of sines differ from processor to processor.
    """
    turn = math.radians(pose.tilt)
    cosine, sine = math.cos(turn), math.sin(turn)
    centre_x, centre_y = SIDE / 2 + pose.right, SIDE / 2 + pose.down
    return [
        (
            round(SCALE * (centre_x + pose.radius * (cosine * x + sine * y))),
            round(SCALE * (centre_y + pose.radius * (cosine * y - sine * x))),
        )
        for x, y in points
    ]


def _circle(points: int, radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> list[Point]:
    angles = [2 * math.pi * number / points for number in range(points)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def _star() -> list[Point]:
    angles = [math.pi * number / 5 - math.pi / 2 for number in range(10)]
    radii = [1.12 if number % 2 == 0 else 0.5 for number in range(10)]
    return [
        (radius * math.cos(angle), 0.06 + radius * math.sin(angle)) for angle, radius in zip(angles, radii, strict=True)
    ]


def _heart() -> list[Point]:
    """The curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, made to fit."""
    turns = [2 * math.pi * number / 48 for number in range(48)]
    return [
        (
            0.062 * 16 * math.sin(t) ** 3,
            -0.062 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) - 0.1,
        )
        for t in turns
    ]


def _fish() -> list[Polygon]:
    body = [(-0.2 + 0.82 * x, 0.62 * y) for x, y in _circle(40)]
    return [[(0.4, 0.0), (1.05, -0.62), (0.9, 0.0), (1.05, 0.62)], body]


def _mushroom() -> list[Polygon]:
    cap = [(1.02 * x, 0.08 + 0.98 * y) for x, y in _circle(48) if y <= 1e-9]
    return [[(-0.38, 0.0), (0.38, 0.0), (0.48, 0.92), (-0.48, 0.92)], cap]


def _mug() -> list[Polygon]:
    handle = _circle(32, 0.46, 0.6, 0.0)
    hole = _circle(32, 0.22, 0.6, 0.0)
    # One outline that goes around, in, and around the hole the other way.
    ring = [*handle, handle[0], *reversed(hole), hole[-1]]
    return [ring, [(-0.82, -0.82), (0.56, -0.82), (0.56, 0.86), (-0.82, 0.86)]]


_MUG_SIDE: Polygon = [(0.56, -0.82), (0.56, 0.86)]

_SHAPES: dict[str, Sequence[Polygon]] = {
    "ball": [_circle(48, 0.98)],
    "box": [[(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]],
    "star": [_star()],
    "heart": [_heart()],
    "fish": _fish(),
    "house": [[(-1.08, -0.14), (0.0, -1.05), (1.08, -0.14), (0.8, -0.14), (0.8, 0.9), (-0.8, 0.9), (-0.8, -0.14)]],
    "mug": _mug(),
    "mushroom": _mushroom(),
}
