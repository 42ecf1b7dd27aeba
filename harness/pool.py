"""Pools: the same work in this process, or on Ray actors. The only file that imports ray.

A task is built once in each worker; batches are handed out one at a time to whoever is free; results come back in any
order, so every row carries its own key. The pool knows nothing of cases, only that a batch whose worker died may be
tried elsewhere, and cut in halves until the item that kills workers is found.

Facts about Ray behind the design: with max_restarts=0 and one call in flight an actor's death blames exactly one
batch; a memory kill raises OutOfMemoryError, which is no RayActorError; a bare ray.init() joins whatever cluster this
machine knows of, so a private one is asked for by name.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UsageError, one_line, warn
from harness.nouns import Worker

REPOSITORY = Path(__file__).resolve().parent.parent

# A batch is tried whole this often before it is cut in halves, and one item this often before it is given up.
# The first death may be the machine's fault; each trial is on a fresh worker.
TRIES_WHOLE = 2
TRIES_ALONE = 3

# How often the driver looks whether the cluster has grown.
GROWTH_SECONDS = 5.0

# After this long without a worker that is ready, the driver says so.
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are worked on together; `index` is the batch's place in the plan, kept when it is cut in halves."""

    index: int
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: the rows it gave, or why no worker survived it."""

    batch: Batch
    rows: Sequence[Any] = ()
    lost: str = ""


class PoolError(UsageError):
    """There is nobody to work: no cluster answers, or it can never have what a worker needs."""


class BrokenWorker(Exception):
    """Raised by work whose process must not be used again; the batch is tried elsewhere, as after a death."""


class Task(Protocol):
    """Work that pickles small, and builds its heavy half in the worker."""

    def build(self) -> Callable[[Batch], Sequence[Any]]:
        """Load what the work needs, once a worker; UsageError stops the whole run with its one line."""
        ...


class Pool(Protocol):
    """Where batches are worked on."""

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """One Outcome a batch (or a part of it, after deaths), in any order."""
        ...

    def close(self) -> None:
        """Give back what the pool holds."""
        ...


class LocalPool:
    """Everything in this process, one batch after another: for debugging, and for what only the driver can do."""

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """One Outcome a batch, in order."""
        if not batches:
            return
        work = task.build()
        for batch in batches:
            yield Outcome(batch, work(batch))

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class RayPool:
    """Long-lived Ray actors, one a GPU, or one a CPU slot where there are no GPUs.

    `address`: "" starts a private Ray on this machine, "auto" or "host:port" joins a cluster. `workers`: how many
    actors; 0 is as many as the cluster has room for, followed as nodes join.
    """

    address: str = ""
    workers: int = 0
    _connected: bool = False
    _resting: _Crew | None = None

    def map(self, task: Task, batches: Sequence[Batch], worker: Worker) -> Iterator[Outcome]:
        """One Outcome a batch, or several when its workers died; raises the task's own exceptions as they are."""
        if not batches:
            return
        self._connect()
        crew = _Crew(task, worker, self.workers, self._resting)
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


@dataclass
class _Trial:
    """A batch and how many workers died on it."""

    batch: Batch
    deaths: int = 0


class _Crew:
    """The actors of one map call, and what each is doing."""

    def __init__(self, task: Task, worker: Worker, wanted: int, before: _Crew | None) -> None:
        import ray

        self.ray: Any = ray
        errors = ray.exceptions
        self.deadly = (errors.RayActorError, errors.OutOfMemoryError, errors.ObjectLostError)
        self.kind = type(task)
        self.task = ray.put(task)
        self.worker = worker
        self.wanted = wanted
        self.looked = -GROWTH_SECONDS
        self.resources: dict[str, float] = {}
        # Settled once: a cluster that loses its last GPU must not go on with CPUs in silence.
        self.gpus = worker.gpus if self._has("GPU") else 0.0
        self.full = False
        self.heard = time.monotonic()
        self.resting = self._taken_over(before)
        self.veterans = tuple(self.resting)
        self.waiting: collections.deque[_Trial] = collections.deque()
        self.busy: dict[Any, tuple[Any, _Trial | None]] = {}
        self.idle: list[Any] = []
        self.failed_builds = 0

    def work(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        self.waiting.extend(_Trial(batch) for batch in batches)
        self._require_room()
        while self.waiting or self._at_work():
            self._hand_out()
            self._hire()
            done, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=GROWTH_SECONDS)
            self._say_when_nobody_comes(bool(done))
            for reference in done:
                yield from self._collect(reference)

    def _at_work(self) -> int:
        """How many actors have a batch."""
        return sum(trial is not None for _, trial in self.busy.values())

    def _say_when_nobody_comes(self, heard: bool) -> None:
        if heard or self._at_work():
            self.heard = time.monotonic()
        elif time.monotonic() - self.heard > SILENCE_SECONDS:
            self.heard = time.monotonic()
            warn(
                f"no worker is ready after {SILENCE_SECONDS:.0f} s more: the model is large, or the cluster has "
                f"no room for {self.gpus:g} GPUs and 1 CPU on one node; `ray status` tells"
            )

    def dismiss(self) -> None:
        """Kill everybody."""
        self.dismiss_busy()
        self._kill(self.idle)

    def dismiss_busy(self) -> None:
        """Kill whoever is not idle: those still at work, or never called."""
        self._kill([*self.resting, *(actor for actor, _ in self.busy.values())])

    def _taken_over(self, before: _Crew | None) -> list[Any]:
        """The idle actors of the stage before, for a process that has torch loaded is worth keeping.

        Not where they hold other resources than this stage needs, for they would keep its actors out; nor where they
        did another kind of work, for a system under test must not share a process with what judges it.
        """
        if before is None:
            return []
        if (before.kind, before.gpus, before.worker.env) == (self.kind, self.gpus, self.worker.env):
            return before.idle
        self._kill(before.idle)
        return []

    def _kill(self, actors: Iterable[Any]) -> None:
        for actor in actors:
            with contextlib.suppress(Exception):  # an actor that is already gone is what is wanted
                self.ray.kill(actor)

    def _collect(self, reference: Any) -> Iterator[Outcome]:
        actor, trial = self.busy.pop(reference)
        try:
            rows = self.ray.get(reference)
        except self.deadly as death:
            self._kill([actor])
            if trial is not None:
                yield from self._bury(trial, death)
            elif actor not in self.veterans:  # one of those may have died between the stages
                self._count_failed_build(death)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BrokenWorker) and trial is not None:
                self._kill([actor])
                yield from self._bury(trial, error.cause)
                return
            raise error.cause if isinstance(error.cause, UsageError) else error from None
        else:
            self.idle.append(actor)
            if trial is None:
                self.failed_builds = 0
            else:
                yield Outcome(trial.batch, rows)

    def _count_failed_build(self, death: Exception) -> None:
        """Once every slot has failed several times in a row, go on with those that work; give up where none does."""
        self.failed_builds += 1
        self.full = self.failed_builds >= TRIES_ALONE * self._slots()
        if self.full and not self.idle and not self._at_work():
            raise UsageError(f"workers die while they load: {one_line(death)}")

    def _bury(self, trial: _Trial, death: Exception) -> Iterator[Outcome]:
        """A worker died: try its batch again elsewhere, then by halves, and give up an item that dies alone."""
        deaths, items = trial.deaths + 1, trial.batch.items
        if len(items) == 1 and deaths >= TRIES_ALONE:
            yield Outcome(trial.batch, lost=f"killed {deaths} workers: {one_line(death)}")
        elif len(items) > 1 and deaths >= TRIES_WHOLE:
            half = len(items) // 2
            self.waiting.extendleft(_Trial(Batch(trial.batch.index, part)) for part in (items[half:], items[:half]))
        else:
            self.waiting.appendleft(_Trial(trial.batch, deaths))

    def _hire(self) -> None:
        """Start actors up to what is wanted and useful; ones that find no room yet simply wait in Ray's queue."""
        have = len(self.idle) + len(self.busy)
        useful = min(self._slots(), self._at_work() + len(self.waiting))
        for _ in range(0 if self.full and have else useful - have):
            actor = self.resting.pop() if self.resting else self._actor_class().remote()
            self.busy[actor.build.remote(self.task)] = (actor, None)

    def _hand_out(self) -> None:
        while self.idle and self.waiting:
            actor, trial = self.idle.pop(), self.waiting.popleft()
            self.busy[actor.work.remote(trial.batch)] = (actor, trial)

    def _slots(self) -> int:
        if self.wanted:
            return self.wanted
        return max(1, int(self._has("GPU") / self.gpus if self.gpus else self._has("CPU")))

    def _has(self, resource: str) -> float:
        """How much of a resource the whole cluster has, looked up now and then."""
        if time.monotonic() - self.looked >= GROWTH_SECONDS:
            self.resources, self.looked = self.ray.cluster_resources(), time.monotonic()
        return self.resources.get(resource, 0.0)

    def _require_room(self) -> None:
        if self.gpus > self._has("GPU"):
            raise PoolError(f"a worker needs {self.gpus:g} GPUs and the whole cluster has {self._has('GPU'):g}")

    def _actor_class(self) -> Any:
        environment = {"env_vars": dict(self.worker.env)} if self.worker.env else {}
        return self.ray.remote(
            num_cpus=1, num_gpus=self.gpus, max_restarts=0, max_task_retries=0, runtime_env=environment
        )(_Actor)


class _Actor:
    """One worker: builds the task once, then answers batches."""

    answer: Callable[[Batch], Sequence[Any]] | None = None

    def build(self, task: Task) -> None:
        if self.answer is not None:
            self.answer = None
            _free_device_memory()
        self.answer = task.build()

    def work(self, batch: Batch) -> Sequence[Any]:
        assert self.answer is not None, "work came before build"
        return self.answer(batch)


def _free_device_memory() -> None:
    """Give back what the last task held, before the next is built in the same process."""
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


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
    except (OSError, ValueError) as error:
        raise PoolError(f"--address {address}: nothing answers there: {error}; is the head node up?") from error
