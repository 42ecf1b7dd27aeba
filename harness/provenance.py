"""What made the rows: versions, platform, command line. Stored beside them; never part of a run's identity."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.errors import printable
from harness.redaction import redact_words

PACKAGES = ("torch", "transformers", "diffusers", "open-clip-torch", "ray", "numpy", "pillow")


def provenance(command: Sequence[str]) -> dict[str, str]:
    """Versions of Python, anybench (its commit) and the packages that make numbers; platform; command line."""
    said = {f"version.{name}": version_of(name) for name in PACKAGES}
    said["version.python"] = platform.python_version()
    said["version.anybench"] = _commit()
    said["platform"] = platform.platform()
    said["command"] = printable(shlex.join(redact_words(command)))
    return said


def version_of(package: str) -> str:
    """The installed version of a package, or "absent"."""
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
