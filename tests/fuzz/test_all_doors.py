"""How much is fuzzed: every door of the plan has its fuzzer, and together they try ten thousand inputs and more."""

from __future__ import annotations

from pathlib import Path

import pytest
from doors import PLAN, Door

from harness.errors import UsageError


def test_the_doors_are_knocked_at_ten_thousand_times_and_a_few_hundred_by_default() -> None:
    assert sum(many for _, many in PLAN.values()) >= 10_000
    assert 300 <= sum(few for few, _ in PLAN.values()) <= 1000
    written = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*_door*.py"))
    assert [door for door in PLAN if f'portions("{door}")' not in written] == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise ValueError('no line of ours')", "no line of ours"),
        ("raise OneLine('a line\\x1b[31m')", "a line"),
        ("raise OneLine('some other file: is bad')", "does not name"),
        ("import subprocess; subprocess.run(['true'])", "touched"),
        ("open('/etc/hostname').close()", "touched"),
        ("open('/tmp/anybench-outside', 'w').close()", "touched"),
        ("import os; os.system('true')", "touched"),
    ],
)
def test_a_door_that_breaks_the_law_is_noticed(root: Path, fault: str, said: str) -> None:
    class OneLine(UsageError):
        def __str__(self) -> str:
            return str(self.args[0])

    door = Door("a door", root)
    with pytest.raises((AssertionError, ValueError), match=said):
        door.knock(lambda: exec(fault, {"OneLine": OneLine}), named="thing.bin")
    Path("/tmp/anybench-outside").unlink(missing_ok=True)
