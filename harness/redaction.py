"""Secrets, by the names they go by: their values never reach the store, a report, MLflow or a log."""

from __future__ import annotations

import re
from collections.abc import Mapping

HIDDEN = "[redacted]"

_SECRET = r"secret|passw|credential|token$|token[_.-]|api.?key|(?:^|[_.-])key(?:$|[_.-])"


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    """The values with those whose names look like secrets hidden, and the others as `redact_text` leaves them."""
    return {name: HIDDEN if _is_secret(name) else redact_text(text) for name, text in values.items()}


def redact_text(text: str) -> str:
    """Text without the passwords of URLs, access tokens of the hub, and values given to names that look secret."""
    text = re.sub(r"(://)[^/@\s]+@", rf"\1{HIDDEN}@", text)
    text = re.sub(r"\bhf_[A-Za-z0-9]{8,}", HIDDEN, text)
    return re.sub(r"([\w.-]+)(=)(\S+)", _hide_value, text)


def _is_secret(name: str) -> bool:
    return re.search(_SECRET, name, re.IGNORECASE) is not None


def _hide_value(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if _is_secret(found[1]) else found[0]
