"""A system's run beside those that bound it: the same flags for its baselines first, then the table.

Editing metrics are read only beside these: doing nothing is a strong answer (of LSD it beats published rows), the
target itself shows what a metric gives at best, and a picture of the caption's words what fools it.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence

from benchmarks import SUITES
from harness.names import find, load
from harness.nouns import Suite
from runners.cli import main

USAGE = 2

# The flags that belong to the system under test alone.
OWN = ("--system", "--checkpoint", "--set", "--batch-size")


def run_with_baselines(suite: str, baselines: Sequence[str], given: Sequence[str]) -> int:
    """Run the baselines and the system on a suite, then print the published table that the suite answers, if any.

    With `--json` among the flags there is no table.
    `given` are the flags of `anybench run`, perhaps with another suite before them; settings of the system stand there,
    or in ANYBENCH_SET, and not in a `--config` file, which the baselines would read too. Returns the exit status of the
    system's run; what a baseline lacks is said by its own.
    """
    if given and not given[0].startswith("-"):
        suite, given = given[0], given[1:]
    shared = without_own(given)
    if {"-h", "--help"} & {*given}:
        return main(["run", suite, *given])
    with contextlib.redirect_stdout(io.StringIO()):
        refused = main(["run", suite, *given, "--dry-run"])
    if refused == USAGE:
        return refused
    for name in baselines:
        with _own_left_out():
            main(["run", suite, "--system", name, *shared, "--checkpoint", ""])
    status = main(["run", suite, *given])
    asked: Suite = load(find(suite, SUITES, "suite"))
    if asked.table and "--json" not in given and "--dry-run" not in given:
        main(["table", asked.table, *_store(given)])
    return status


def run_each_with_baselines(suites: Sequence[str], baselines: Sequence[str], given: Sequence[str]) -> int:
    """`run_with_baselines` for each suite, or for the one that stands before the flags, and its leaderboard.

    With `--json` or `--dry-run` among the flags there is none. Returns the first exit status of the system that is not
    0; flags that it does not take are said once.
    """
    if given and not given[0].startswith("-"):
        suites, given = given[:1], given[1:]
    statuses = []
    for suite in suites:
        statuses.append(run_with_baselines(suite, baselines, given))
        if statuses[-1] == USAGE or {"-h", "--help"} & {*given}:
            break
        if not {"--json", "--dry-run"} & {*given}:
            main(["leaderboard", suite, *_store(given)])
    return next(filter(None, statuses), 0)


@contextlib.contextmanager
def _own_left_out() -> Iterator[None]:
    """Without what the environment says of the system under test."""
    names = [f"ANYBENCH_{flag.removeprefix('--').upper().replace('-', '_')}" for flag in OWN]
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def without_own(given: Sequence[str]) -> list[str]:
    """The flags without those of the system under test."""
    kept, skip = [], False
    for word in given:
        name, equals, _ = word.partition("=")
        if skip or name in OWN:
            skip = not skip and not equals
        else:
            kept.append(word)
    return kept


def _store(given: Sequence[str]) -> list[str]:
    """The flags that say where the runs are kept."""
    return [
        text
        for at, word in enumerate(given)
        for text in ([word] if word.startswith(("--store=", "--config=")) else given[at : at + 2])
        if word.partition("=")[0] in ("--store", "--config")
    ]
