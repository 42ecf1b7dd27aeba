"""Work on Ray actors: joining a cluster, or starting a private one, and leaving it in order.

A bare ray.init() joins whatever cluster this machine knows of, so a private one is asked for by name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import one_line
from harness.nouns import Worker
from harness.pool import Batch, Outcome, PoolError, Task
from harness.ray_crew import Crew

REPOSITORY = Path(__file__).resolve().parent.parent

# A batch that gives nothing for this long has a worker that hangs. Generous: a batch of long videos takes a while.
TIMEOUT_SECONDS = 3600.0


@dataclass
class RayPool:
    """Long-lived Ray actors, one a GPU, or one a CPU slot where there are no GPUs.

    `address`: "" starts a private Ray on this machine, "auto" or "host:port" joins a cluster. `workers`: how many
    actors; 0 is as many as the cluster has room for, followed as nodes join. `timeout`: seconds after which a worker
    that has given nothing, to a batch or while it loads, is killed.
    """

    address: str = ""
    workers: int = 0
    timeout: float = TIMEOUT_SECONDS
    _connected: bool = False
    _resting: Crew | None = None

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """One Outcome a batch, or several when its workers died; raises the task's own exceptions as they are."""
        if not batches:
            return
        self._connect()
        crew = Crew(task, worker, self.workers, self.timeout, self._resting)
        self._resting = None
        try:
            yield from crew.work(batches)
        except BaseException:  # a generator that is left raises GeneratorExit here
            crew.dismiss()
            raise
        crew.dismiss_busy()
        self._resting = crew

    def close(self) -> None:
        """Leave the cluster; a private one ends with it."""
        if self._connected:
            import ray

            self._resting = None
            ray.shutdown()
            self._connected = False

    def _connect(self) -> None:
        if self._connected:
            return
        address = _known_cluster() if self.address == "auto" else self.address
        _check_answers(address)
        # Ray reads these when it is imported. Without the last it does not send the token that is there.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if address and _has_token():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray

        try:
            with _own_handling_of_sigterm():
                ray.init(
                    address=address or "local",
                    include_dashboard=None if address else False,
                    runtime_env=_code(address),
                    configure_logging=False,
                    log_to_driver=False,
                )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
            raise PoolError(
                f"--address {address or 'local'}: Ray cannot be joined: {one_line(error)}; where the cluster wants a "
                "token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
            ) from error
        self._connected = True


@contextlib.contextmanager
def _own_handling_of_sigterm() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray puts its own in the place of it, which ends in a dump of stacks."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _code(address: str) -> dict[str, Any]:
    """How our code reaches the workers: it is there (this machine), came with the job, or is sent along."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return {}
    if address:
        return {"working_dir": str(REPOSITORY)}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {"env_vars": {"PYTHONPATH": path}}


def _known_cluster() -> str:
    """The cluster that `ray start` on this machine wrote down; asked for by "auto", Ray would wait for a dead one."""
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        return note.read_text().strip()
    except OSError as error:
        raise PoolError(f"--address auto: {note} names no cluster; give its HOST:PORT") from error


def _has_token() -> bool:
    given = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    return given or (Path.home() / ".ray" / "auth_token").exists()


def _check_answers(address: str) -> None:
    """Fail in seconds, not minutes, where nothing listens at host:port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:  # OverflowError: no port has this number
        raise PoolError(f"--address {address}: nothing answers there: {error}; is the head node up?") from error
