"""Secrets, by the names they go by: their values are kept out of the store, reports and MLflow.

A best effort: what is called by another name, or stands in free text without a name, is not known for a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.identity import digest_bytes

HIDDEN = "[redacted]"

_SECRET = r"secret|passw|credential|token$|token[_.-]|api.?key|[_.-]key$|^key$|^sig$|signature$"


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    """The values with those whose names look like secrets hidden, and the others as `redact_text` leaves them.

    What is hidden leaves a few digits of the value's digest, so that runs with unlike values stay unlike.
    """
    return {name: _redacted(text, HIDDEN if _is_secret(name) else redact_text(text)) for name, text in values.items()}


def redact_words(words: Sequence[str]) -> list[str]:
    """The words of a command line: those that follow or are given to a flag or key that looks like a secret hidden."""
    hidden = []
    for before, word in zip(("", *words), words, strict=False):
        name, equals, _ = word.partition("=")
        if before.startswith("-") and "=" not in before and _is_secret(before):
            word = HIDDEN
        elif equals and _is_secret(name):
            word = f"{name}={HIDDEN}"
        elif equals and name.startswith("-"):
            word = f"{name}={redact_words([word.removeprefix(f'{name}=')])[0]}"
        hidden.append(redact_text(word))
    return hidden


def redact_text(text: str) -> str:
    """Text without the passwords of URLs, access tokens of the hub, and values given to names that look secret."""
    text = re.sub(r"(://)[^/\s]*@", rf"\1{HIDDEN}@", text)
    text = re.sub(r"\b(Bearer|Basic)\s+\S+", rf"\1 {HIDDEN}", text)
    text = re.sub(r"\bhf_[A-Za-z0-9]{8,}", HIDDEN, text)
    return re.sub(r"([\w.-]+)(=)([^\s&]+)", _hide_value, text)


def _redacted(text: str, shown: str) -> str:
    return text if shown == text or text.startswith(HIDDEN) else f"{shown} sha256:{digest_bytes(text.encode())[:12]}"


def _is_secret(name: str) -> bool:
    return re.search(_SECRET, name, re.IGNORECASE) is not None


def _hide_value(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if _is_secret(found[1]) else found[0]
