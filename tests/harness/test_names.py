from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.names import find, load


def test_an_unknown_name_suggests_the_nearest_ones() -> None:
    with pytest.raises(UsageError, match="no suite named 'dreambenhc'; did you mean dreambench"):
        find("dreambenhc", {"dreambench": 1, "coco": 2}, "suite")


def test_a_name_like_none_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="there are: coco, dreambench"):
        find("zzz", {"dreambench": 1, "coco": 2}, "suite")


def test_load_gives_the_attribute() -> None:
    assert load("harness.names:find") is find
