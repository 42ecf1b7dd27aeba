"""How well 64 workers are kept busy, and what that costs the driver: a simulation on one machine.

    .venv/bin/python perf/simulated_cluster.py

Ray is told of 64 GPUs that are not there. 64 real actors, each a process of its own, get batches from the crew that all
runs use (harness.ray_crew); their work is to sleep for a time drawn from a lognormal distribution with a fixed seed, so
that two cores are enough. The makespan is counted from when all workers are ready, as a long run sees it, and compared
with the ideal one: the larger of total work / workers, and the longest batch. What is stored, and how, is not part of
it: perf/cost_per_case.py measures that.

The driver's CPU seconds (all threads of its process, Ray's own included) are counted over the same time; then, for a
crew of 1,000, one look at that many calls under way is timed. perf/SCALE.md says what follows from the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from harness.nouns import Worker  # noqa: E402
from harness.pool import Batch  # noqa: E402
from harness.ray_crew import Crew  # noqa: E402

TARGET = 0.95
TIMEOUT_SECONDS = 600.0
MANY = 1000
LOOKS = 200


@dataclass(frozen=True)
class Sleeping:
    """Work that takes the time its item says; a negative item waits until all workers are there."""

    folder: str
    workers: int

    def build(self) -> Callable[[Batch], Sequence[float]]:
        """Nothing to load."""
        return self._work

    def _work(self, batch: Batch) -> list[float]:
        for seconds in batch.items:
            if seconds < 0:
                self._gather()
            else:
                time.sleep(seconds)
        return list(batch.items)

    def _gather(self) -> None:
        (Path(self.folder) / str(os.getpid())).touch()
        while len(os.listdir(self.folder)) < self.workers:
            time.sleep(0.2)


@dataclass(frozen=True)
class Measured:
    """What the simulation came to; times in seconds."""

    makespan: float
    ideal: float
    in_order: float
    driver: float
    batches: int

    @property
    def ratio(self) -> float:
        """The ideal makespan by the measured one: 1 is perfect."""
        return self.ideal / self.makespan


def handed_out_in_order(seconds: NDArray[np.float64], workers: int) -> float:
    """The makespan of batches handed out in order to whoever is free, where handing out costs nothing."""
    free = [0.0] * workers
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def service_times(count: int, median: float, spread: float, seed: int) -> NDArray[np.float64]:
    """Seconds of each batch, lognormal: exp(N(ln median, spread^2))."""
    return np.random.default_rng(seed).lognormal(np.log(median), spread, count)


def simulate(seconds: NDArray[np.float64], workers: int) -> Measured:
    """Gather all workers, then have them sleep through all batches."""
    worker = Worker("perf:Sleeping", gpus=1)
    with tempfile.TemporaryDirectory() as folder:
        task = Sleeping(folder, workers)
        crew = Crew(task, worker, 0, TIMEOUT_SECONDS, None)
        gathered = list(crew.work([Batch(number, (-1.0,)) for number in range(workers)]))
        assert len(os.listdir(folder)) == len(gathered) == workers, "a worker was lost while they gathered"
        crew = Crew(task, worker, 0, TIMEOUT_SECONDS, crew)
        batches = [Batch(number, (float(one),)) for number, one in enumerate(seconds)]
        before, start = time.process_time(), time.perf_counter()
        answered = sum(len(outcome.rows) for outcome in crew.work(batches))
        makespan, driver = time.perf_counter() - start, time.process_time() - before
        assert answered == len(seconds), "not every batch was answered once"
        crew.dismiss()
    ideal = max(seconds.sum() / workers, seconds.max())
    return Measured(makespan, ideal, handed_out_in_order(seconds, workers), driver, len(seconds))


def seconds_of_a_look(calls: int) -> float:
    """CPU seconds of the driver for one look at that many calls under way."""
    import ray

    class Hanging:
        def wait(self) -> None:
            time.sleep(1000)

    actor: Any = ray.remote(num_cpus=0)(Hanging).remote()
    references = [actor.wait.remote() for _ in range(calls)]
    ray.wait(references, timeout=1)
    before = time.process_time()
    for _ in range(LOOKS):
        ray.wait(references, num_returns=1, timeout=0)
    spent = (time.process_time() - before) / LOOKS
    ray.kill(actor)
    return spent


def main() -> int:
    """Simulate, print, and return 1 where the target is missed."""
    asked = _arguments()
    import ray

    os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")  # 64 processes start on few cores
    ray.init(
        address="local", num_cpus=asked.workers, num_gpus=asked.workers, include_dashboard=False, log_to_driver=False,
        object_store_memory=256 << 20, runtime_env={"env_vars": {"PYTHONPATH": str(REPOSITORY)}},
    )  # fmt: skip
    load = os.getloadavg()[0]
    begun = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # where Ray prints that it starts many processes
        measured = simulate(service_times(asked.batches, asked.median, asked.spread, asked.seed), asked.workers)
        ready = time.perf_counter() - begun - measured.makespan
        look = seconds_of_a_look(MANY)
        ray.shutdown()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"workers {asked.workers}, batches {measured.batches}, load of the machine at the start {load:.1f}")
    print(f"workers ready after           {ready:8.1f} s")
    print(f"makespan                      {measured.makespan:8.1f} s")
    print(f"ideal makespan                {measured.ideal:8.1f} s")
    print(f"in order, at no cost          {measured.in_order:8.1f} s")
    print(f"ideal / makespan              {measured.ratio:8.1%}   (target {TARGET:.0%})")
    print(f"driver's CPU a batch          {1000 * measured.driver / measured.batches:8.2f} ms")
    print(f"driver's CPU of one core      {measured.driver / measured.makespan:8.1%}")
    print(f"driver's look at {MANY:,} calls   {1000 * look:8.2f} ms")
    print(f"driver's memory at most       {memory:8.0f} MB")
    return 0 if measured.ratio >= TARGET else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64, metavar="N")
    parser.add_argument("--batches", type=int, default=5120, metavar="N")
    parser.add_argument("--median", type=float, default=1.3, metavar="SECONDS", help="of a batch (default: 1.3)")
    parser.add_argument("--spread", type=float, default=0.5, help="sigma of the logarithm (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
