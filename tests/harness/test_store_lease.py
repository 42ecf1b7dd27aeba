"""Two processes on one run of a store that is a URL: real processes, really killed and stopped; seconds made short."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from s3_server import S3Server

from harness import lease
from harness.lease import Lease
from harness.store import Store, StoreError

URL = "s3://bucket/runs"
RENEWAL, PATIENCE = 0.3, 2.0
TAKEN = "another process is working on this run"

# Holds a run, and writes a file of it for each line of stdin.
HOLD = f"""
import sys
from harness import lease
from harness.errors import UsageError
from harness.store import Store
lease.RENEWAL_SECONDS = {RENEWAL}
store = Store.at("{URL}")
with store.lock("r"):
    print("held", flush=True)
    for line in sys.stdin:
        try:
            store.write("r/x", line.encode())
            print("wrote", flush=True)
        except UsageError as error:
            print(error, flush=True)
"""


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of a minute."""
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", RENEWAL)
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", PATIENCE)


@pytest.fixture
def store(s3: S3Server) -> Store:
    """A store in a bucket."""
    return Store.at(URL)


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run."""
    command = [sys.executable, "-c", HOLD]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def ask_to_write(process: subprocess.Popen[str]) -> str:
    assert process.stdin and process.stdout
    process.stdin.write("x\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_a_second_process_is_told_that_the_run_is_taken_and_by_whom(store: Store) -> None:
    with holder() as process:
        for _ in range(2):
            with pytest.raises(StoreError, match=rf"{URL}/r/lock: {TAKEN}, process {process.pid} on "), store.lock("r"):
                pass
        with store.lock("another run"):
            pass
        assert ask_to_write(process) == "wrote\n"


def test_a_killed_holders_run_is_taken_over_when_it_has_been_silent_for_long(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with holder() as process:
        process.kill()
        process.wait()
        start = time.monotonic()
        with store.lock("r"):
            assert time.monotonic() - start >= PATIENCE
    assert f"process {process.pid} on" in capsys.readouterr().err


def test_a_holder_that_ends_leaves_nothing_to_wait_for(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with store.lock("r"):
            assert store.exists("r/lock")
        assert not store.exists("r/lock")
    # Who waits for a silent holder says so.
    assert capsys.readouterr().err == ""


def test_a_holder_that_ends_while_it_is_watched_is_followed_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 2.0)  # longer than it is held
    first = Lease(store, "r/lock")
    first.take()
    threading.Timer(0.1, first.release).start()
    start = time.monotonic()
    with store.lock("r"):
        assert time.monotonic() - start < PATIENCE


def test_a_holder_that_was_stopped_for_too_long_is_told_when_it_next_writes(store: Store) -> None:
    with holder() as process:
        process.send_signal(signal.SIGSTOP)
        with store.lock("r"):
            process.send_signal(signal.SIGCONT)
            deadline = time.monotonic() + 20
            while (said := ask_to_write(process)) == "wrote\n" and time.monotonic() < deadline:
                time.sleep(RENEWAL)
            assert "another has taken the run over; nothing stored is lost" in said
            store.write("r/x", b"the newcomer goes on")
        assert not store.exists("r/lock")


@pytest.mark.parametrize("jump", [1e6, -1e6])
def test_a_wall_clock_that_jumps_takes_no_run_from_a_holder_that_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    start = time.time()
    monkeypatch.setattr(time, "time", lambda: start + jump * time.monotonic())
    with store.lock("r"), pytest.raises(StoreError, match=TAKEN), Store.at(URL).lock("r"):
        pass
    store.write("r/lock", b"of a dead process")
    with store.lock("r"):
        pass


def test_a_newcomer_that_was_stopped_itself_takes_no_run_from_a_holder_that_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder():
        sleep = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: sleep(2 * PATIENCE))
        with pytest.raises(StoreError, match=TAKEN), store.lock("r"):
            pass


def test_an_outage_shorter_than_patience_costs_no_lease(s3: S3Server, store: Store) -> None:
    with store.lock("r"):
        s3.refusal = lambda environ: ("403 Forbidden", b"")
        time.sleep(3 * RENEWAL)
        s3.refusal = lambda environ: None
        time.sleep(3 * RENEWAL)
        store.write("r/x", b"")
        with pytest.raises(StoreError, match=TAKEN), Store.at(URL).lock("r"):
            pass


def test_a_damaged_lease_is_outwaited(store: Store) -> None:
    store.write("r/lock", b"\xff\xfe")
    with store.lock("r"):
        store.write("r/x", b"")


def test_of_newcomers_that_outwait_the_same_dead_holder_one_goes_on(store: Store) -> None:
    store.write("r/lock", b"of a dead process")
    stores = [Store.at(URL) for _ in range(4)]
    going = []
    with ExitStack() as held:

        def take(mine: Store) -> None:
            try:
                held.enter_context(mine.lock("r"))
                going.append(mine)
            except StoreError:
                pass

        threads = [threading.Thread(target=take, args=(mine,)) for mine in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(3 * RENEWAL)  # for as long, the first may not have noticed
        assert sum(writes(mine) for mine in going) == 1


def writes(store: Store) -> bool:
    try:
        store.write("r/x", b"")
    except StoreError:
        return False
    return True


def test_a_lease_in_memory_and_in_a_bucket_is_the_same_thing(tmp_path: Path) -> None:
    url = f"memory://{tmp_path}"
    with Store.at(url).lock("r"), pytest.raises(StoreError, match=TAKEN), Store.at(url).lock("r"):
        pass
    with Store.at(url).lock("r"):
        pass
