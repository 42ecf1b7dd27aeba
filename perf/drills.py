#!/usr/bin/env python3
"""Two drills that a harness should pass before its numbers are believed; write a contender, and run it on yours.

    .venv/bin/python perf/drills.py --lm-eval VENV/bin/python

    kill        300 cases; the process group is killed (-9) at 60 % of the model calls, and the same command is run
                again. Redone are the cases that had been asked before. Allowed: workers x batch.
    overwrite   a checkpoint that answers everything right is evaluated, overwritten in place by one of the same size
                that answers everything wrong, and the same command is run again. The score must be 0.

A contender is a command that evaluates the checkpoint on the cases, appends the number of each case that the model
is asked to the journal, and prints the score as a JSON line {"score": ...}. The model is a text file, "right" or
"wrong", read when it is loaded; it takes 10 ms a case. Exit status 0 when anybench passes both.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CASES = 300
KILL_AT = 0.6
PATIENCE = 300.0


@dataclass(frozen=True)
class Contender:
    """A harness under drill: its command gets checkpoint, journal and a folder to keep things in."""

    name: str
    command: tuple[str, ...]
    workers: int
    batch: int


def anybench(workers: int = 2, batch: int = 4) -> Contender:
    """`anybench run`, on Ray."""
    script = str(HERE / "drill_anybench.py")
    return Contender("anybench", (sys.executable, script, str(workers), str(batch)), workers, batch)


def lm_eval(python: str) -> Contender:
    """lm-eval with --use_cache, one process."""
    return Contender("lm-eval", (python, str(HERE / "drill_lm_eval.py")), 1, 1)


def kill_drill(contender: Contender, folder: Path) -> tuple[int, int]:
    """How many answered cases were asked again after the kill, and how many were asked at all then."""
    checkpoint, journal = folder / "checkpoint.txt", folder / "journal"
    checkpoint.write_text("right")
    journal.touch()
    first = _start(contender, checkpoint, journal, folder / "kept")
    _wait_for_calls(first, journal, int(KILL_AT * CASES))
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = _asked(journal)
    _score(_start(contender, checkpoint, journal, folder / "kept"))
    after = _asked(journal)[len(before) :]
    assert set(before) | set(after) == set(range(CASES)), "cases were skipped"
    return len(set(before) & set(after)), len(after)


def overwrite_drill(contender: Contender, folder: Path) -> tuple[float, float]:
    """The scores of the right checkpoint and of the wrong one in its place."""
    checkpoint, journal = folder / "checkpoint.txt", folder / "journal"
    checkpoint.write_text("right")
    right = _score(_start(contender, checkpoint, journal, folder / "kept"))
    checkpoint.write_text("wrong")
    return right, _score(_start(contender, checkpoint, journal, folder / "kept"))


def passes(contender: Contender) -> bool:
    """Run both drills and print what came of them."""
    with tempfile.TemporaryDirectory(prefix="anybench-drill-") as folder:
        (kill := Path(folder) / "kill").mkdir()
        (overwrite := Path(folder) / "overwrite").mkdir()
        redone, asked = kill_drill(contender, kill)
        right, wrong = overwrite_drill(contender, overwrite)
    allowed = contender.workers * contender.batch
    good = redone <= allowed and (right, wrong) == (1.0, 0.0)
    print(
        f"{contender.name:10} kill -9 at {KILL_AT:.0%}: {redone} of {asked} redone (allowed {allowed}); "
        f"overwritten checkpoint: scores {wrong:.2f} after {right:.2f}; {'passes' if good else 'FAILS'}",
        flush=True,
    )
    return good


def _start(contender: Contender, checkpoint: Path, journal: Path, kept: Path) -> subprocess.Popen[str]:
    command: Sequence[str] = (*contender.command, str(checkpoint), str(journal), str(kept))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _wait_for_calls(process: subprocess.Popen[str], journal: Path, calls: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(_asked(journal)) < calls:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"ended before it could be killed: {process.communicate()[1][-2000:]}")
        time.sleep(0.005)


def _score(process: subprocess.Popen[str]) -> float:
    out, errors = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise RuntimeError(errors[-2000:])
    return float(json.loads(out.splitlines()[-1])["score"])


def _asked(journal: Path) -> list[int]:
    """The cases that the model was asked, in order; half a last line does not count."""
    return [int(line) for line in journal.read_text().rpartition("\n")[0].splitlines()]


def main() -> int:
    """Run the drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lm-eval", default="", metavar="PYTHON", help="an interpreter that has lm-eval")
    asked = parser.parse_args()
    good = passes(anybench())
    if asked.lm_eval:
        passes(lm_eval(asked.lm_eval))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
