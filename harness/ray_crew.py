"""The actors of one stage: who works on what, and who is to blame when one of them dies.

Facts about Ray behind the design (2.60, measured). With max_restarts=0 and one call in flight an actor's death blames
exactly one batch. A process that dies is reported by its node at once (ActorDiedError). A node that is taken away in
order is known to be dead when its actors' deaths arrive; one that is lost is known to be dead 12 s later, and until
then nobody can say how its actors ended (ActorUnavailableError). Ray's memory monitor kills one worker of a node that
runs out of memory, and not always the one that grew (OutOfMemoryError, which is no RayActorError).
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.devices import free_device_memory
from harness.errors import UsageError, one_line, warn
from harness.nouns import Worker
from harness.pool import Batch, BrokenWorker, Outcome, PoolError, Said, Task, take_notes

# What an actor is asked: where it is, to build the task, to work on a batch.
Step = Literal["place", "build", "work"]

# A batch is tried whole this often before it is cut in halves, and one item this often before it is given up.
# The first death may be the machine's fault; each trial is on a fresh worker.
TRIES_WHOLE = 2
TRIES_ALONE = 3

# This often a batch is not blamed for what may be the doing of others: a node that left, a memory kill in company.
# Its halves inherit the count, so that an item that takes whole nodes with it is found as well.
EXCUSES = 3

# After so many deaths without one batch answered in between it is the system, not a case: halving one batch of eight
# around a case that kills workers takes nine.
DEATHS_IN_A_ROW = 40

# How often the driver looks whether the cluster has grown.
GROWTH_SECONDS = 5.0

# After this long without a worker that is ready, the driver says so.
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Trial:
    """A batch, how many workers died on it, and how many more did so without its being blamed."""

    batch: Batch
    deaths: int = 0
    excuses: int = 0


@dataclass(eq=False, slots=True)
class _Member:
    """An actor, and the node it was placed on: "" while Ray finds room for it."""

    actor: Any
    node: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    """What an actor was last asked; only "work" has a trial. `since` is by the monotonic clock."""

    member: _Member
    step: Step
    trial: _Trial | None
    since: float


class Crew:
    """The actors of one map call, and what each is doing."""

    def __init__(self, task: Task, worker: Worker, wanted: int, timeout: float, before: Crew | None) -> None:
        import ray

        self.ray: Any = ray
        self.errors: Any = ray.exceptions
        self.kind = type(task)
        self.task = ray.put(task)
        self.worker = worker
        self.wanted = wanted
        self.timeout = timeout
        self.looked = -GROWTH_SECONDS
        self.resources: dict[str, float] = {}
        # Settled once: a cluster that loses its last GPU must not go on with CPUs in silence.
        self.gpus = worker.gpus if self._has("GPU") else 0.0
        self.actor_class = self._actor_class()
        self.full = False
        self.withheld = 0
        self.heard = time.monotonic()
        self.resting = self._taken_over(before)
        self.veterans = tuple(self.resting)
        self.waiting: collections.deque[_Trial] = collections.deque()
        self.busy: dict[Any, _Call] = {}
        self.idle: list[_Member] = []
        self.failed_builds = 0
        self.deaths_in_a_row = 0
        self.raised: Exception | None = None
        self.said = Said()

    def work(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        """One Outcome a batch, or several when its workers died."""
        self.waiting.extend(_Trial(batch) for batch in batches)
        self._require_room()
        while self.waiting or self._at_work():
            self._hand_out()
            self._hire()
            outcomes = self._hear()
            self._hand_out()  # before the driver turns to keeping what came
            yield from outcomes
            if self.raised:
                raise self.raised from None

    def dismiss(self) -> None:
        """Kill everybody."""
        self.dismiss_busy()
        self._kill(self.idle)

    def dismiss_busy(self) -> None:
        """Kill whoever is not idle: those still at work, or never called."""
        self._kill([*self.resting, *(call.member for call in self.busy.values())])

    def _hear(self) -> list[Outcome]:
        """Wait a while for somebody to be done; what all those who are by now have given."""
        patience = min(GROWTH_SECONDS, self.timeout)
        done, others = self.ray.wait(list(self.busy), num_returns=1, timeout=patience)
        if done and others:
            done += self.ray.wait(others, num_returns=len(others), timeout=0)[0]
        self._say_when_nobody_comes(bool(done))
        outcomes = [outcome for reference in done for outcome in self._collect(reference)]
        return outcomes + self._end_the_silent()

    def _end_the_silent(self) -> list[Outcome]:
        """Kill who has given nothing for too long; how long Ray takes to find room for an actor is nobody's fault."""
        latest = time.monotonic() - self.timeout
        late = [reference for reference, call in self.busy.items() if call.since < latest and call.step != "place"]
        reason = f"gave no answer within {self.timeout:g} s"
        return [outcome for reference in late for outcome in self._lose(self.busy.pop(reference), reason)]

    def _collect(self, reference: Any) -> list[Outcome]:
        call = self.busy.pop(reference)
        try:
            answer = self.ray.get(reference)
        except self.errors.OutOfMemoryError as death:
            return self._lose(call, one_line(death), excused=self._makes_room(call))
        except (self.errors.RayActorError, self.errors.ObjectLostError) as death:
            return self._lose(call, _cause(death), excused=self._left_with_its_node(call, death))
        except self.errors.RayTaskError as error:
            if isinstance(error.cause, BrokenWorker) and call.trial:
                return self._lose(call, one_line(error.cause))
            self.raised = error.cause if isinstance(error.cause, UsageError) else error
            return []
        return self._go_on(call, answer)

    def _go_on(self, call: _Call, answer: Any) -> list[Outcome]:
        """After an answer: what a new actor does next, or the rows of a batch."""
        member = call.member
        if call.step == "place":
            member.node = answer
            self._ask(member, "build")
            return []
        self.idle.append(member)
        if call.trial is None:
            self.failed_builds = 0
            return []
        rows, notes = answer
        self.deaths_in_a_row = 0
        self.said.pass_on(notes)
        return [Outcome(call.trial.batch, rows)]

    def _lose(self, call: _Call, reason: str, excused: bool = False) -> list[Outcome]:
        """A worker is lost: see what becomes of its batch, or of the stage whose task cannot be built."""
        self._kill([call.member])
        if call.trial is not None:
            return self._bury(call.trial, reason, excused)
        if not excused and call.member not in self.veterans:  # one of those may have died between the stages
            self._count_failed_build(reason)
        return []

    def _bury(self, trial: _Trial, reason: str, excused: bool) -> list[Outcome]:
        """Try the batch again elsewhere, then by halves, and give up an item that dies alone."""
        if excused:
            self.waiting.appendleft(replace(trial, excuses=trial.excuses + 1))
            return []
        deaths, batch = trial.deaths + 1, trial.batch
        self.deaths_in_a_row += 1
        if self.deaths_in_a_row >= DEATHS_IN_A_ROW:
            self.raised = UsageError(
                f"{DEATHS_IN_A_ROW} workers in a row died at work, and no batch was answered in between: {reason}; "
                "what was answered before is kept"
            )
        if len(batch.items) == 1 and deaths >= TRIES_ALONE:
            return [Outcome(batch, lost=f"killed {deaths} workers: {reason}")]
        if len(batch.items) > 1 and deaths >= TRIES_WHOLE:
            self.waiting.extendleft(_Trial(half, excuses=trial.excuses) for half in reversed(batch.halves()))
        else:
            self.waiting.appendleft(replace(trial, deaths=deaths))
        return []

    def _makes_room(self, call: _Call) -> bool:
        """Whether a memory kill may be the doing of others on the node; there is then one worker fewer from now on."""
        neighbours = [*self.idle, *(other.member for other in self.busy.values())]
        if not _may_be_excused(call.trial) or all(one.node != call.member.node for one in neighbours):
            return False
        self.withheld += 1
        warn(
            "a node ran out of memory, and Ray killed one of the workers there: its batch is tried again, and this "
            f"stage goes on with {self._slots()} workers"
        )
        return True

    def _left_with_its_node(self, call: _Call, death: Exception) -> bool:
        """Whether the whole node is gone, as far as Ray can say; the batch has then done nothing wrong."""
        if call.trial is None or not _may_be_excused(call.trial):
            return False
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        if not isinstance(death, self.errors.ActorUnavailableError) and call.member.node in alive:
            return False
        self.said.pass_on([f"node {call.member.node[:8]} is gone: the batches of its workers are tried on others"])
        return True

    def _count_failed_build(self, reason: str) -> None:
        """Once every slot has failed several times in a row, go on with those that work; give up where none does."""
        self.failed_builds += 1
        self.full = self.failed_builds >= TRIES_ALONE * self._slots()
        if self.full and not self.idle and not self._at_work():
            self.raised = UsageError(f"workers die while they load: {reason}")

    def _hand_out(self) -> None:
        while self.idle and self.waiting:
            self._ask(self.idle.pop(), "work", self.waiting.popleft())

    def _hire(self) -> None:
        """Start actors up to what is wanted and useful; ones that find no room yet simply wait in Ray's queue."""
        have = len(self.idle) + len(self.busy)
        useful = min(self._slots(), self._at_work() + len(self.waiting))
        for _ in range(0 if self.full and have else useful - have):
            if self.resting:
                self._ask(self.resting.pop(), "build")
            else:
                self._ask(_Member(self.actor_class.remote()), "place")

    def _ask(self, member: _Member, step: Step, trial: _Trial | None = None) -> None:
        given = {"place": (), "build": (self.task,), "work": (trial.batch if trial else None,)}[step]
        reference = getattr(member.actor, step).remote(*given)
        self.busy[reference] = _Call(member, step, trial, time.monotonic())

    def _at_work(self) -> int:
        """How many actors have a batch."""
        return sum(call.trial is not None for call in self.busy.values())

    def _slots(self) -> int:
        most = int(self._has("GPU") / self.gpus if self.gpus else self._has("CPU"))
        return max(1, (self.wanted or most) - self.withheld)

    def _has(self, resource: str) -> float:
        """How much of a resource the whole cluster has, looked up now and then."""
        if time.monotonic() - self.looked >= GROWTH_SECONDS:
            self.resources, self.looked = self.ray.cluster_resources(), time.monotonic()
        return self.resources.get(resource, 0.0)

    def _require_room(self) -> None:
        if self.gpus > self._has("GPU"):
            raise PoolError(f"a worker needs {self.gpus:g} GPUs and the whole cluster has {self._has('GPU'):g}")

    def _say_when_nobody_comes(self, heard: bool) -> None:
        if heard or self._at_work():
            self.heard = time.monotonic()
        elif time.monotonic() - self.heard > SILENCE_SECONDS:
            self.heard = time.monotonic()
            warn(
                f"no worker is ready after {SILENCE_SECONDS:.0f} s more: the model is large, or the cluster has "
                f"no room for {self.gpus:g} GPUs and 1 CPU on one node; `ray status` tells"
            )

    def _taken_over(self, before: Crew | None) -> list[_Member]:
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

    def _kill(self, members: Iterable[_Member]) -> None:
        for member in members:
            with contextlib.suppress(Exception):  # an actor that is already gone is what is wanted
                self.ray.kill(member.actor)

    def _actor_class(self) -> Any:
        environment = {"env_vars": dict(self.worker.env)} if self.worker.env else {}
        return self.ray.remote(
            num_cpus=1, num_gpus=self.gpus, max_restarts=0, max_task_retries=0, runtime_env=environment
        )(_Actor)


def _cause(death: Exception) -> str:
    """What Ray knows of how an actor ended: the last line that is no detail of the one before, without its advice."""
    lines = [line for line in str(death).splitlines() if line and not line[0].isspace()]
    return lines[-1].partition(" Some common causes")[0] if lines else type(death).__name__


def _may_be_excused(trial: _Trial | None) -> bool:
    return trial is None or trial.excuses < EXCUSES


class _Actor:
    """One worker: says where it is, builds the task once, then answers batches."""

    answer: Callable[[Batch], Sequence[Any]] | None = None

    def place(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def build(self, task: Task) -> None:
        if self.answer is not None:
            self.answer = None
            free_device_memory()
        self.answer = task.build()

    def work(self, batch: Batch) -> tuple[Sequence[Any], tuple[str, ...]]:
        """The rows, and what there is to say."""
        assert self.answer is not None, "work came before build"
        return self.answer(batch), take_notes()
