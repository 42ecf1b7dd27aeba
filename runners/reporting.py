"""`anybench table` and `anybench leaderboard`: commands that only read."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

from benchmarks import SUITES
from harness.errors import shown
from harness.names import find, load
from harness.nouns import Summary
from harness.summary import json_line, read_summaries, read_summary, run_folder
from harness.tracking import read_leaderboard, tracking_uri
from metrics import METRICS
from reports.render import FORMATS, Table, render
from reports.tables import leaderboard, paper_table
from runners import options


def board(summaries: Sequence[Summary], suite: str) -> Table:
    """The leaderboard of one suite."""
    return leaderboard(summaries, load(find(suite, SUITES, "suite")), better())


def better() -> dict[str, Literal["higher", "lower"]]:
    """Of every metric, which way is better."""
    return {name: load(target).better for name, target in METRICS.items()}


def table(asked: argparse.Namespace) -> int:
    """`anybench table`: a published table with our rows in it."""
    store = options.store_at(asked.store)
    named = [read_summary(store, run_folder(store, name)) for name in asked.run]
    summaries = named or [one for one in read_summaries(store) if one.table == asked.table]
    made = paper_table(asked.table, summaries)
    print(render(made, asked.format))
    if asked.json:
        print(json.dumps(dataclasses.asdict(made)))
    return 0


def show_leaderboard(asked: argparse.Namespace) -> int:
    """`anybench leaderboard`: read back from MLflow."""
    store = options.store_at(asked.store)
    if asked.suite:
        find(asked.suite, SUITES, "suite")
    summaries = read_leaderboard(asked.suite, store.url)
    if not summaries:
        where = shown(tracking_uri(store.url))
        print(f"no runs{f' of {asked.suite}' if asked.suite else ''} in {where}")
    for suite in dict.fromkeys(one.run.suite for one in summaries):
        print(render(board(summaries, suite), asked.format))
    if asked.json:
        print(json.dumps({"runs": [json.loads(json_line(one)) for one in summaries]}))
    return 0


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="see `anybench list tables`")
    parser.add_argument(
        "--run", action="append", default=[], metavar="RUN", help="a run of the store; default: all that fit"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="terminal")
    options.add_common(parser)


def _add_leaderboard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="?", default="", help="default: every suite")
    parser.add_argument("--format", choices=tuple(FORMATS), default="terminal")
    options.add_common(parser)


COMMANDS = (
    ("table", "a published table with your rows in it", _add_table, table),
    (
        "leaderboard",
        "all runs that MLflow knows, best first among those that can be compared",
        _add_leaderboard,
        show_leaderboard,
    ),
)
