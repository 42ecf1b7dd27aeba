"""What can go wrong, by who can mend it.

    UsageError      the caller's mistake: one line that names the file or the case and the mend, exit status 2
    AbsentError     something asked for is not there (weights, subjects): named, exit status 3
    StoreError      the store cannot be written or read, or another process works on the run: one line, exit status 2

Anything else is a bug or a lost machine, keeps its traceback and exits 1. A case that fails is no exception at all:
it is a Generation with an `error`.
"""

from __future__ import annotations

import sys

from harness.redaction import redact_text

SHOWN_CHARACTERS = 2000


class UsageError(Exception):
    """The caller's mistake. The message is one line: what was given, what is wrong with it, what would do.

    It is one line whatever stands in it: paths, prompts and the words of libraries may hold line breaks and escapes.
    """

    exit_status = 2

    def __str__(self) -> str:
        """The message as `printable` shows it."""
        return printable(super().__str__())


class AbsentError(UsageError):
    """Something that was asked for is not there; whatever can go on without it does."""

    exit_status = 3


class StoreError(UsageError):
    """The store cannot be written or read; what it already holds stays, and the same command goes on from there."""


def warn(line: str) -> None:
    """Say something on stderr."""
    print(f"anybench: {shown(line)}", file=sys.stderr, flush=True)


def shown(text: str) -> str:
    """Text as it is shown on a terminal: `printable`, without secrets, and without the middle of what is very long."""
    said = printable(redact_text(text))
    if len(said) > SHOWN_CHARACTERS:
        said = f"{said[: SHOWN_CHARACTERS // 2]} ... {said[-SHOWN_CHARACTERS // 2 :]}"
    return said


def printable(text: str) -> str:
    """Text as one line that is safe to show: line breaks become spaces, what does not print is spelled (`\\x1b`)."""
    line = " ".join(text.splitlines())
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def one_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
