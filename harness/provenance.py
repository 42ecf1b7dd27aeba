"""What made the rows: versions, device, command line. Stored beside them; never part of a run's identity."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("torch", "transformers", "diffusers", "open-clip-torch", "ray", "numpy", "pillow")

# Names of settings and environment variables whose values must never be stored or shown.
SECRET = re.compile(r"token|secret|passw|credential|api_?key|access_?key|private_?key|authorization", re.IGNORECASE)


def provenance(command: Sequence[str]) -> dict[str, str]:
    """Versions of Python, anybench (its commit) and the packages that make numbers; platform; command line."""
    said = {f"version.{name}": _version(name) for name in PACKAGES}
    said["version.python"] = platform.python_version()
    said["version.anybench"] = _commit()
    said["platform"] = platform.platform()
    said["command"] = shlex.join(redact(command))
    return said


def redact(words: Sequence[str]) -> list[str]:
    """Command-line words with the values of secrets replaced: `--set hub_token=abc` loses its abc."""
    hidden = []
    for before, word in zip(("", *words), words, strict=False):
        name, equals, _ = word.partition("=")
        if equals and SECRET.search(name):
            word = f"{name}=***"
        elif before.startswith("-") and "=" not in before and SECRET.search(before):
            word = "***"
        hidden.append(re.sub(r"(://[^/@\s:]+):[^/@\s]+@", r"\1:***@", word))
    return hidden


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _commit() -> str:
    """The commit of the tree this file is in, with "+" when files differ from it; "unknown" outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit.stdout.strip()
