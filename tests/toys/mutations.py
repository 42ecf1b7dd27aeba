"""Damaged input, made of good input: bytes that were flipped, cut, spliced and filled; values of other types.

Everything is drawn from a `random.Random`, so a seed is the input.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

# Sizes, offsets and counts that programs get wrong: none, the ends of the signed and unsigned ranges.
NUMBERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(8))

# Text that has a meaning to somebody: a shell, a terminal, a page, a spreadsheet, a file system, a formatter.
STRANGE = (
    "", " ", "\0", "\n", "\r\n", "a\nb", "\x1b[31m", "\x1b]0;title\x07", "\u202e", "\ufeff", "\ud800", "💥", "e\u0301",
    "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "../../../etc/passwd", "/etc/passwd", "~root", "~nobody-here/x",
    "file:///etc/passwd", "http://169.254.169.254/", "zip://x::/etc/passwd", "$(touch pwned)", "`touch pwned`", "%s%n",
    "{0.__class__}", "{", "nan", "inf", "-1", "0", "1e999", "9" * 5000, "True", "null", "a,b", "a=b", "--help", "-",
    "x" * 300, "x" * 100_000, "\u0661", "1_000", "0x10", "💥" * 200,
)  # fmt: skip

# What JSON can hold in the place of anything.
VALUES: tuple[Any, ...] = (
    *STRANGE, None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), [], {},
    [None], [[]], {"": None}, {"a": {}}, ["x"] * 50, [["a", "b"]], {"__class__": "os.system"},
)  # fmt: skip


def damaged(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """One to four injuries; `others` are files whose pieces may be spliced in."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        random.choice(_INJURIES)(changed, random, others)
    return bytes(changed)


def swapped(value: Any, random: Random) -> Any:
    """A JSON value of which one to three places hold something of another kind, are gone, or are double."""
    changed = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            return random.choice(VALUES)
        container, key = random.choice(places)
        _change(container, key, random)
    return changed


def strange(random: Random, around: str = "") -> str:
    """A strange text, alone or within another one."""
    text = random.choice(STRANGE)
    at = random.randint(0, len(around))
    return random.choice((text, around[:at] + text + around[at:], around + text, text + around))


def _flip(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if data:
            data[_place(data, random)] ^= 1 << random.randrange(8)


def _number(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    number = random.choice(NUMBERS)
    at = _place(data, random)
    data[at : at + len(number)] = number


def _cut(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    if random.random() < 0.5:
        del data[at:]
    else:
        del data[at : at + random.choice((1, 4, 100, 4096))]


def _insert(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 16, 300)))


def _repeat(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at, length = _place(data, random), random.choice((4, 12, 64, 1000))
    data[at:at] = data[at : at + length] * random.choice((1, 2, 50))


def _splice(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    other = random.choice(others) if others else bytes(data)
    at, start, length = _place(data, random), _place(other, random), random.choice((4, 64, 1000, 1 << 20))
    data[at : at + random.choice((0, length))] = other[start : start + length]


def _place(data: bytes | bytearray, random: Random) -> int:
    """Anywhere; headers, where most of the meaning is, more often."""
    end = max(1, len(data))
    return random.randrange(min(end, random.choice((16, 64, 512, end, end))))


_INJURIES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _number, _number, _cut, _insert, _repeat, _splice),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    keys: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _change(container: Any, key: Any, random: Random) -> None:
    kind = random.randrange(6)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = [container[key]] * random.choice((1, 2, 40))
    elif kind == 2 and isinstance(container, dict):
        container[strange(random, str(key))] = container.pop(key)
    elif kind == 3:
        container[key] = strange(random, str(container[key])[:50])
    else:
        container[key] = copy.deepcopy(random.choice(VALUES))
