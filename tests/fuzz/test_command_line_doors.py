"""Flags, environment and `--config` with anything in them: obeyed, or refused in one line with exit status 2 or 3."""

from __future__ import annotations

import json
import string
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from doors import Door, portions
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from media_toys import picture
from mutations import STRANGE, damaged, strange

from harness.errors import UsageError
from runners.cli import main

RUN = ("run", "dreambench-mini", "--system", "copy_input", "--metrics", "color_hist", "--dry-run")
CONFIG = """\
# A run, as people write it.
system: copy_input
metrics: [color_hist]
limit: 0.10
cases: [vase-00, "dog6-01"]
set: {steps: 050, task: no}
weights:
  dino-tiny: build/dino-tiny
seed: 7
offline: true
"""
# Pieces of YAML that mean much in few characters: anchors, merges, tags, other documents, numbers and dates.
YAML = (
    *("&a ", "*a", "<<: *a\n", "? ", "- ", "[", "{", "}", "]", "'", '"', "|\n", ">\n", "---\n", "...\n"),
    *("%YAML 9\n", "!!int ''"),
    *("!!", "!!python/object/apply:os.system ['touch pwned']", "!!binary aGk=", "!!bool x", "!!timestamp x"),
    *("!!set {a}", "2001-99-99", "0o17", "1e999", ".inf", "9" * 5000, "[" * 3000, "{a: " * 500, "\t", "\x00", "\ufeff"),
    *('"\\0"', '"\\ud800"', "limit: 3\n", "limit: [1, [2]]\n", "limit: {a: 1}\n", "json: maybe\n", "metrics:\n"),
    *("set: [a, b=c]\n", "config: other.yaml\n", "help: 1\n"),
    "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nlimit: [*b,*b,*b,*b,*b,*b,*b,*b]\n",
)  # fmt: skip
# What a flag could be given; neither a way to another machine (a URL, an address) nor a folder to write to.
FLAGS = (
    *("--system", "--checkpoint", "--data", "--limit", "--cases", "--samples", "--seed", "--batch-size", "--set", "--"),
    *("--metrics", "--weights", "--workers", "--store", "--config", "--offline", "--json", "--retry-failed", "-x"),
)  # fmt: skip
GOOD = ("color_hist", "vase-00", "dino-tiny=x", "0.5", "out", "true", "2", "local")
COMMANDS = (
    RUN,
    RUN,
    ("list", "suites"),
    ("list", "runs"),
    ("score", "nothing"),
    ("track", "nothing"),
    ("table", "codi2_t4_left"),
    ("report", "nothing", "--out", "page"),
    ("compare", "one", "other"),
    ("metric", "color_hist", "--output", "out", "--reference", "out", "--workers", "local"),
    (),
)


@pytest.fixture
def command(root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command line, which answers, or says what is wrong: UsageError with the one line that it printed."""
    monkeypatch.setenv("ANYBENCH_STORE", str(root / "store"))
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    (root / "out").mkdir()
    (root / "out/a.png").write_bytes(picture("PNG"))

    def run(*words: str) -> None:
        try:
            status = main(words)
        except SystemExit as ended:  # --help
            status = int(ended.code or 0)
        out, err = capfd.readouterr()
        assert status in (0, 2, 3), f"{words}: {status}, {err[-2000:]}"
        assert "\x1b" not in out + err and "Traceback" not in out + err
        if status:
            lines = err.splitlines()
            assert lines and all(line.startswith("anybench: ") and line.isprintable() for line in lines), err[-2000:]
            assert status == 3 or len(lines) == 1, err
            raise UsageError(lines[-1])

    return run


@pytest.mark.parametrize("count", portions("words"))
def test_any_words_are_obeyed_or_refused_in_one_line(root: Path, command: Callable[..., None], count: int) -> None:
    door, random = Door("words", root, reads_what_is_named=True), Random("words")
    for _ in range(count):
        words = [*random.choice(COMMANDS), *(word for _ in range(random.randint(0, 3)) for word in a_flag(random))]
        if random.random() < 0.3 and words:
            words[random.randrange(len(words))] = harmless(strange(random))
        door.knock(lambda words=words: command(*words))
    assert door.knocks == count and door.taken and door.refused
    assert not (root / "pwned").exists()


@pytest.mark.parametrize("count", portions("environment"))
def test_any_environment_is_obeyed_or_refused_in_one_line(
    root: Path, command: Callable[..., None], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    door, random = Door("environment", root, reads_what_is_named=True), Random("environment")
    for _ in range(count):
        name = f"ANYBENCH_{random.choice(FLAGS).strip('-').upper().replace('-', '_')}"
        with monkeypatch.context() as patch:
            patch.setenv(name, harmless(strange(random, random.choice(GOOD))).encode("utf-8", "replace").decode())
            door.knock(lambda: command(*random.choice(COMMANDS)))
    assert door.knocks == count and door.taken and door.refused


@pytest.mark.parametrize("count", portions("config.yaml"))
def test_any_config_file_is_obeyed_or_refused_in_one_line(root: Path, command: Callable[..., None], count: int) -> None:
    door, random, path = Door("config.yaml", root, reads_what_is_named=True), Random("yaml"), root / "run.yaml"
    texts = st.one_of(
        st.text(),
        st.lists(st.sampled_from(YAML), min_size=1, max_size=6).map("".join),
        st.dictionaries(st.sampled_from(("limit", "set", "metrics", "seed", "x")), any_json()).map(json.dumps),
    )

    @settings(max_examples=count // 2, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(texts)
    def drawn(text: str) -> None:
        knock(text.encode("utf-8", "replace"))

    def knock(data: bytes) -> None:
        path.write_bytes(data)
        words = RUN if door.knocks % 4 == 0 else ("list", "suites")
        door.knock(lambda: command(*words, "--config", "run.yaml"))

    drawn()
    while door.knocks < count:
        at = random.randint(0, len(CONFIG))
        pieces = "".join(random.choice(YAML) for _ in range(random.randint(0, 2)))
        knock(damaged((CONFIG[:at] + pieces + CONFIG[at:]).encode(), random) if random.random() < 0.5 else
              (CONFIG[:at] + pieces + CONFIG[at:]).encode())  # fmt: skip
    assert door.knocks == count and door.taken and door.refused
    assert not (root / "pwned").exists()


def any_json() -> st.SearchStrategy[object]:
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable) | st.sampled_from(STRANGE)
    )
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner), max_leaves=6)


def a_flag(random: Random) -> Sequence[str]:
    """A flag, mostly with a value, sometimes a good one."""
    flag = random.choice(FLAGS)
    value = harmless(strange(random, random.choice(GOOD)))
    return random.choice(([flag, value], [flag, value], [f"{flag}={value}"], [flag], [flag, "2"]))


def harmless(word: str) -> str:
    """A word that leads to no other machine; the kernel hands over no NUL."""
    return word.replace("\0", "").replace("http://", "nosuch://")
