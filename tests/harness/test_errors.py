"""One line that is safe to show, whatever stands in it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import AbsentError, UsageError, shown, warn


@given(st.text() | st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Cf"])))
def test_an_error_is_one_line_that_prints(text: str) -> None:
    for kind in (UsageError, AbsentError):
        assert str(kind(text)).isprintable()
        assert str(pickle.loads(pickle.dumps(kind(text)))) == str(kind(text))


def test_what_prints_stays_and_what_does_not_is_spelled() -> None:
    assert str(UsageError("дом 日本 é.png: no such file")) == "дом 日本 é.png: no such file"
    assert str(UsageError("a\nb\r\nc\x1b[31m\ud800\0")) == "a b c\\x1b[31m\\ud800\\x00"


def test_what_is_very_long_is_shown_by_its_ends(capsys: pytest.CaptureFixture[str]) -> None:
    warn("begin " + "x" * 100_000 + " end")
    line = capsys.readouterr().err
    assert len(line) < 2100 and line.startswith("anybench: begin ") and line.endswith(" end\n")


def test_a_secret_is_hidden_before_a_long_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "s" * 40)
    for place in range(960, 1040, 7):
        assert "ssssss" not in shown("x" * place + "s" * 40 + "x" * 5000)
