from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness import redaction
from harness.generation import GenerationTask
from harness.nouns import Case, Item, Media, Turn, Worker
from harness.pool import Batch
from harness.redaction import hide, redact_text, redact_values, redact_words
from harness.store import Store


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--set", "hub_token=abc def"], ["--set", "hub_token=[redacted]"]),
        (["--set=hub_token=abc def"], ["--set=hub_token=[redacted]"]),
        (["--password", "abc"], ["--password", "[redacted]"]),
        (["--store", "s3://me:b@c@bucket/x"], ["--store", "s3://[redacted]@bucket/x"]),
        (["https://host/x?sig=abc&n=1"], ["https://host/x?sig=[redacted]&n=1"]),
        (["--set", "steps=50", "--seed", "3"], ["--set", "steps=50", "--seed", "3"]),
    ],
)
def test_secrets_on_a_command_line_are_hidden_and_the_rest_is_kept(words: list[str], kept: list[str]) -> None:
    assert redact_words(words) == kept


def test_tokens_in_free_text_are_hidden() -> None:
    assert (
        redact_text("Authorization: Bearer abc.def, hf_0123456789ab") == "Authorization: Bearer [redacted] [redacted]"
    )


def test_hidden_values_stay_unlike_and_are_hidden_once() -> None:
    first, second = redact_values({"hub_token": "a"}), redact_values({"hub_token": "b"})
    assert first != second
    assert redact_values(first) == first
    first, second = redact_values({"prompt": "password=red"}), redact_values({"prompt": "password=blue"})
    assert first != second and "red " not in first["prompt"]
    assert redact_values(first) == first


def test_what_only_sounds_like_a_secret_is_kept() -> None:
    harmless = {"max_new_tokens": "64", "monkey": "banana", "key_frames": "8", "steps": "50"}
    assert redact_values(harmless) == harmless


@pytest.fixture
def none_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no setting has been hidden yet."""
    monkeypatch.setattr(redaction, "_given", set())


def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "open/sesame")
    assert redact_text("no entry: open/sesame, or open%2Fsesame") == "no entry: [redacted], or [redacted]"
    assert redact_values({"prompt": "open/sesame!"})["prompt"].startswith("[redacted]! sha256:")


def test_a_path_and_a_short_word_are_no_secrets_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN_PATH", str(tmp_path))
    monkeypatch.setenv("SOME_PASSWORD", "cat")
    assert redact_text(f"{tmp_path}/x: a cat") == f"{tmp_path}/x: a cat"


def test_a_secret_setting_is_hidden_in_text_once_it_is_known(none_given: None) -> None:
    assert redact_text("refused: hocus-pocus") == "refused: hocus-pocus"
    hide({"api_key": "hocus-pocus", "steps": "1234567"})
    assert redact_text("refused: hocus-pocus at 1234567") == "refused: [redacted] at 1234567"


def test_a_worker_hides_the_secret_settings_in_its_errors(none_given: None, tmp_path: Path) -> None:
    worker = Worker("hostile_suite:Leaks", gpus=0)
    store = Store.at(str(tmp_path))
    task = GenerationTask(worker, "", "", {"api_key": "hocus-pocus"}, store, store.mark(), "media")
    item = Item(Case("a", (Turn((Media("text", text="b"),), ("text",)),)), sample=0, seed=0)
    (row,) = task.build()(Batch(0, (item,)))
    assert "401 for" in row.error and "hocus-pocus" not in row.error


@pytest.mark.parametrize(
    "said",
    [
        "{'api_key': 'abc def'}",
        '{"hub_token": "abc def"}',
        "password='abc def'",
        'secret="abc def"',
        "Authorization: Bearer abc",
    ],
)
def test_values_that_stand_beside_a_secret_name_are_hidden_in_text(said: str) -> None:
    assert "abc" not in redact_text(said) and "def" not in redact_text(said)


def test_words_of_our_own_errors_are_kept() -> None:
    for said in ("unexpected token: <", "first missing key: layernorm.weight", '{"signature": "dino|v1"}'):
        assert redact_text(said) == said


@pytest.mark.parametrize("text", ["a" * 200_000, "a=b" * 50_000, "'a':" * 50_000, "://" * 50_000, "key='" * 50_000])
def test_a_long_text_is_searched_in_no_time(text: str) -> None:
    start = time.perf_counter()
    redact_text(text)
    assert time.perf_counter() - start < 5
