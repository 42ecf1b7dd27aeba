from __future__ import annotations

import pytest

from harness.redaction import redact_text, redact_values, redact_words


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
