"""Secrets in the environment, settings, addresses and URLs, through whole runs: no byte of them is kept or printed."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from toys import LENGTHS

from harness.nouns import Worker
from metrics import EXTRACTORS
from runners.cli import main

Run = Callable[..., int]

SECRETS = {
    "HF_TOKEN": "squeamish-token-1",
    "AWS_SECRET_ACCESS_KEY": "ossifrage/key+2=",
    "MLFLOW_TRACKING_PASSWORD": "abracadabra:3",
    "the setting": "hocus-pocus-4",
    "the URL": "simsalabim5",
}
RUN = ("run", "hostile", "--system", "leaks", "--workers", "local", "--metrics", "longer")
SET = ("--set", f"api_key={SECRETS['the setting']}")


@pytest.fixture
def anybench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Run:
    """The command line in a folder that holds all it writes, with secrets wherever people have them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYBENCH_STORE", str(tmp_path / "store"))
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, SECRETS[name])

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["anybench", *words])
        return main(list(words))

    return run


@pytest.fixture
def told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Every byte that was printed, and that lies in the folder; Parquet and SQLite as text too."""

    def everything() -> str:
        out, err = capfd.readouterr()
        return "\n".join([out, err, *(text for file in tmp_path.rglob("*") if file.is_file() for text in texts(file))])

    return everything


def texts(file: Path) -> Iterator[str]:
    yield file.read_bytes().decode("latin-1")
    if file.suffix == ".parquet":
        yield str(pq.read_table(file).to_pylist())
    if file.suffix == ".db":
        with sqlite3.connect(file) as database:
            yield "\n".join(database.iterdump())


def leaked(said: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in said]


def test_the_search_finds_what_is_there(told: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "note").write_text(" ".join(SECRETS.values()))
    assert leaked(told()) == [*SECRETS]


def test_a_system_that_quotes_secrets_in_its_errors_leaves_none_behind(anybench: Run, told: Callable[[], str]) -> None:
    assert anybench(*RUN, *SET, "--json") == 3
    assert anybench("leaderboard", "--json") == 0
    assert anybench("list", "runs") == 0
    said = told()
    assert "RuntimeError: 401 for" in said and "provenance.command" in said and "[redacted]" in said
    assert leaked(said) == []


@pytest.mark.parametrize(("at", "status"), [("build", 1), ("usage", 2)])
def test_a_system_that_quotes_secrets_when_it_is_built_prints_none(
    anybench: Run, told: Callable[[], str], at: str, status: int
) -> None:
    assert anybench(*RUN, *SET, "--set", f"at={at}") == status
    said = told()
    assert "401 for" in said and leaked(said) == []


def test_what_is_absent_for_want_of_a_token_is_named_without_it(
    anybench: Run, told: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = dataclasses.replace(LENGTHS, worker=Worker("hostile_suite:Refused", gpus=0))
    monkeypatch.setitem(EXTRACTORS, "lengths", card)  # type: ignore[misc]
    assert anybench("run", "hostile", "--system", "repeats", *RUN[4:]) == 3
    said = told()
    assert "not scored: longer: the hub: 401 for [redacted]" in said and leaked(said) == []


def test_a_server_with_a_password_that_is_down_is_named_without_it(
    anybench: Run, told: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRETS['the URL']}@127.0.0.1:9")
    assert anybench(*RUN, *SET) == 3
    assert anybench("doctor", "--json") == 0
    assert anybench("leaderboard") == 2
    said = told()
    assert "http://[redacted]@127.0.0.1:9" in said and leaked(said) == []


def test_a_store_whose_url_has_a_key_is_named_without_it(anybench: Run, told: Callable[[], str]) -> None:
    url = f"memory://me:{SECRETS['the URL']}@bucket/store"
    try:
        assert anybench(*RUN, *SET, "--store", url, "--json") == 3
        assert anybench("list", "runs", "--store", url, "--json") == 0
        assert anybench("leaderboard", "--store", url, "--json") == 0
        assert anybench("run", *RUN[1:], *SET, "--store", url, "--dry-run", "--json") == 0
        said = told()
        files = fsspec.filesystem("memory")
        kept = b"\n".join(files.cat(name) for name in files.find("/") if not name.endswith("parquet")).decode("latin-1")
    finally:
        fsspec.filesystem("memory").rm("/", recursive=True)
    assert "memory://[redacted]@bucket/store" in said and leaked(said) == []
    assert '"store": "memory://[redacted]@bucket/store"' in kept and leaked(kept) == []


@pytest.mark.parametrize(
    "words",
    [
        ("run", "dreambench-mini", "--system", "diffusers", "--checkpoint", f"https://me:{SECRETS['the URL']}@host/x"),
        (*RUN, "--set", f"steps_api_key={SECRETS['the setting']}"),
        (*RUN, "--weights", f"lengths=https://me:{SECRETS['the URL']}@host/x", *SET),
        ("list", "runs", "--store", f"nosuch://me:{SECRETS['the URL']}@bucket"),
        ("run", "dreambench-mini", "--system", "diffusers", *SET, "--config", "x"),
    ],
)  # fmt: skip
def test_a_mistake_with_a_secret_in_it_is_named_without_it(
    anybench: Run, told: Callable[[], str], words: tuple[str, ...]
) -> None:
    assert anybench(*words) in (2, 3)
    assert leaked(told()) == []


def test_a_run_is_another_one_with_another_secret_and_the_same_again_with_the_same(
    anybench: Run, told: Callable[[], str], tmp_path: Path
) -> None:
    for secret in ("hocus-pocus-4", "hocus-pocus-4", "hocus-pocus-5"):
        assert anybench(*RUN, "--set", f"api_key={secret}", "--limit", "1") == 3
    assert len(list((tmp_path / "store/runs").iterdir())) == 2
    assert leaked(told()) == []
    shutil.rmtree(tmp_path / "store")
