"""What can go wrong, by who can mend it.

    UsageError      the caller's mistake: one line that names the file or the case and the mend, exit status 2
    AbsentError     something asked for is not there (weights, subjects): named, exit status 3

Anything else is a bug or a lost machine, keeps its traceback and exits 1. A case that fails is no exception at all:
it is a Generation with an `error`.
"""

from __future__ import annotations

import sys


class UsageError(Exception):
    """The caller's mistake. The message is one line: what was given, what is wrong with it, what would do."""

    exit_status = 2


class AbsentError(UsageError):
    """Something that was asked for is not there; whatever can go on without it does."""

    exit_status = 3


def warn(line: str) -> None:
    """Say something on stderr."""
    print(f"anybench: {line}", file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
