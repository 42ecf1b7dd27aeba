"""Secrets: their values are kept out of the store, reports, MLflow and what is printed.

A secret is known by the name it goes by: of a setting, a flag, a variable of the environment, a query parameter. The
values of the environment's secrets, and of the settings that were given, are hidden wherever they stand in text (a
failing library likes to quote the token it was refused for). A best effort: what is called by another name is not
known for a secret, and neither is one that was encoded.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

HIDDEN = "[redacted]"

_SECRET = (
    r"secret|passw|passphrase|credential|authorization|cookie|token$|token[_.-]|api.?key|[_.-]key$|^key$|[_.-]pass$"
    r"|^auth$|^sig$|signature$"
)
# What is shorter stands in ordinary words, which must stay readable.
SHORTEST = 6

_given: set[str] = set()


def hide(settings: Mapping[str, str]) -> None:
    """From now on and in this process, `redact_text` hides the values of those settings whose names look secret."""
    _given.update(_secrets_of(settings))


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    """The values with those whose names look like secrets hidden, and the others without any secret in them.

    What is hidden leaves a few digits of the value's digest, so that runs with unlike values stay unlike.
    """
    known = [*_secrets_of(values), *_secrets_of(os.environ)]
    return {
        name: _redacted(text, HIDDEN if _is_secret(name) else _without(known, text)) for name, text in values.items()
    }


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
    """Text without known secrets, passwords of URLs, access tokens of the hub, and values given to secret names."""
    return _without([*_given, *_secrets_of(os.environ)], text)


def _without(known: Iterable[str], text: str) -> str:
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = re.sub(r"(://)[^/\s]*@", rf"\1{HIDDEN}@", text)
    text = re.sub(r"\b(Bearer|Basic)\s+\S+", rf"\1 {HIDDEN}", text)
    text = re.sub(r"\bhf_[A-Za-z0-9]{8,}", HIDDEN, text)
    # Possessive, and only at the beginning of a word: a prompt of 100,000 letters is looked at once.
    text = re.sub(r"(?<![\w.-])([\w.-]++)(=)(\"[^\"]*\"|'[^']*'|[^\s&]+)", _hide_value, text)
    return re.sub(r"(?<=[\"'])([\w.-]++)([\"']\s*:\s*)(\"[^\"]*\"|'[^']*')", _hide_value, text)


def _secrets_of(values: Mapping[str, str]) -> Iterator[str]:
    """The values that are secrets, as they are and as a URL has them; the path of a file is none."""
    for name, value in values.items():
        if len(value) >= SHORTEST and _is_secret(name) and not value.startswith(HIDDEN) and not _is_path(value):
            yield value
            yield quote(value, safe="", errors="replace")


def _is_path(value: str) -> bool:
    try:
        return os.path.exists(value)
    except ValueError:  # a NUL, or no text at all
        return False


def _redacted(text: str, shown: str) -> str:
    return text if shown == text or text.startswith(HIDDEN) else f"{shown} sha256:{_digest(text)[:12]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_secret(name: str) -> bool:
    return re.search(_SECRET, name, re.IGNORECASE) is not None


def _hide_value(found: re.Match[str]) -> str:
    is_ours = found[1] == "signature" and ":" in found[2]  # of a score, in JSON
    return f"{found[1]}{found[2]}{HIDDEN}" if _is_secret(found[1]) and not is_ours else found[0]
