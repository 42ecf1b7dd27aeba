#!/usr/bin/env python3
"""What the harness itself costs a case, beside a bare loop, Ray Data and lm-eval, in one run.

    .venv/bin/python perf/cost_per_case.py --cases 10000 --lm-eval VENV/bin/python

Every contender answers the same prompts with a no-op, in a process of its own: a batch for each worker (the cold start:
imports, Ray), then in turn the same again (the fixed cost of a run: its workers' start) and all cases, three times.
The cost of a case is what all cases took more, over the cases there were more, the best of each. Wall time, and CPU
time of the driver's process. Distributed contenders have two workers.

    bare       a Python loop that appends the answers to a list
    files      the same with a JSON line appended and flushed to the disk for every batch
    anybench   `anybench run`: cases written, answered, kept, a feature extracted, scored, summarised
    ray-data   ray.data: from_items, map_batches on an actor pool of two, written as Parquet
    lm-eval    its dummy model on a generate_until task of as many prompts, exact_match, samples logged; if VENV has it
    picture    anybench, answers of 256 KB: hashed, decoded to the end, written durably (for anybench alone)
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

BATCH = 256
WORKERS = 2
FEW = WORKERS * BATCH
REPEATS = 3
HEADS = ("cases", "ms a case", "driver CPU", "cold s", "fixed s", "peak MiB")
PROMPT = "Case {}: say what stands here, and nothing else."


def bare(count: int, folder: Path) -> None:
    """The floor: no record is kept."""
    answers = []
    for number in range(count):
        answers.append((number, PROMPT.format(number)))


def files(count: int, folder: Path) -> None:
    """The floor of what can be resumed: a line an answer, on the disk before the next batch."""
    with (folder / f"answers-{count}.jsonl").open("w") as file:
        for start in range(0, count, BATCH):
            for number in range(start, min(start + BATCH, count)):
                file.write(json.dumps({"case": number, "answer": PROMPT.format(number)}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def anybench(system: str, count: int, folder: Path) -> None:
    """`anybench run` without its last words (table, MLflow), on a Ray that is there."""
    os.environ.update(ANYBENCH_PERF_CASES=str(count), ANYBENCH_PERF_BATCH=str(BATCH), PYTHONPATH=str(HERE))
    import noop
    import ray

    from harness.ray_pool import RayPool
    from harness.store import Store
    from runners.cli import cycles_are_sought_rarely
    from runners.evaluation import evaluate
    from runners.preparation import Request, prepare

    noop.register()
    suite = "noop-text" if system == "noop" else "noop-image"
    pool = RayPool(workers=WORKERS)
    pool._connected = ray.is_initialized()  # Ray ends with the process, as it does for ray-data
    with cycles_are_sought_rarely():
        summary = evaluate(prepare(Request(suite, system, Store.at(str(folder)), metrics=("as_long",))), pool)
    assert summary.generated == count, summary.failures


def ray_data(count: int, folder: Path) -> None:
    """The same two actors, as Ray Data's users would write it."""
    import ray

    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, configure_logging=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False

    class Answer:
        def __call__(self, batch):  # type: ignore[no-untyped-def]
            batch["answer"] = batch["prompt"]
            return batch

    rows = [{"case": number, "prompt": PROMPT.format(number)} for number in range(count)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, count // BATCH))
    dataset = dataset.map_batches(Answer, batch_size=BATCH, concurrency=WORKERS)
    dataset.write_parquet(str(folder / f"ray-data-{count}"))


LM_EVAL_TASK = """
task: noop_gen
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{prompt}}}}"
generation_kwargs: {{until: ["\\n"]}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""

LM_EVAL = """
import json, resource, sys, time
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
manager = TaskManager(include_path=sys.argv[1], include_defaults=False)
def once(count):
    wall, cpu = time.perf_counter(), time.process_time()
    results = simple_evaluate(model="dummy", tasks=["noop_gen"], task_manager=manager, limit=count, log_samples=True)
    json.dump(results["samples"], open(f"{sys.argv[1]}/samples-{count}.json", "w"), default=str)
    return time.perf_counter() - wall, time.process_time() - cpu
few = int(sys.argv[3])
cold = once(few)
runs = [(once(few), once(int(sys.argv[2]))) for _ in range(3)]
few, many = ([min(one) for one in zip(*(run[which] for run in runs))] for which in (0, 1))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"cold": cold, "few": few, "many": many, "memory": memory}))
"""


def lm_eval(python: str, count: int, folder: Path) -> dict[str, list[float]]:
    """The numbers of lm-eval, from the environment it is installed in."""
    data = folder / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": PROMPT.format(number)}) + "\n" for number in range(count)))
    (folder / "noop_gen.yaml").write_text(LM_EVAL_TASK.format(data=data))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    command = [python, "-c", LM_EVAL, str(folder), str(count), str(FEW)]
    return _last_line(subprocess.run(command, env=environment, capture_output=True, text=True))


CONTENDERS: dict[str, Callable[[int, Path], None]] = {
    "bare": bare,
    "files": files,
    "anybench": lambda count, folder: anybench("noop", count, folder),
    "ray-data": ray_data,
    "picture": lambda count, folder: anybench("picture", count, folder),
}


def measure(name: str, count: int) -> dict[str, list[float] | float]:
    """FEW cases, then FEW and `count` in turn, in this process: the least [wall, CPU] seconds, and peak MiB."""
    with tempfile.TemporaryDirectory(prefix="anybench-perf-") as folder:
        seconds: list[list[float]] = []
        for place, cases in enumerate((FEW, *[FEW, count] * REPEATS)):
            (own := Path(folder) / str(place)).mkdir()
            wall, cpu = time.perf_counter(), time.process_time()
            CONTENDERS[name](cases, own)
            seconds.append([time.perf_counter() - wall, time.process_time() - cpu])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    few, many = ([min(one) for one in zip(*seconds[first::2], strict=True)] for first in (1, 2))
    return {"cold": seconds[0], "few": few, "many": many, "memory": memory}


def _last_line(done: subprocess.CompletedProcess[str]) -> dict[str, list[float]]:
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    said: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return said


def main() -> None:
    """Measure each contender in a process of its own, and print their costs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=1_000)
    parser.add_argument("--only", default="", help="contenders, separated by commas")
    parser.add_argument("--lm-eval", default="", metavar="PYTHON", help="an interpreter that has lm-eval")
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure, asked.cases)))
        return
    names = asked.only.split(",") if asked.only else [*CONTENDERS, *(["lm-eval"] if asked.lm_eval else [])]
    costs: dict[str, float] = {}
    print(f"{'contender':10}" + "".join(f"{head:>12}" for head in HEADS))
    for name in names:
        count = asked.pictures if name == "picture" else asked.cases
        if name == "lm-eval":
            with tempfile.TemporaryDirectory(prefix="anybench-perf-") as folder:
                said = lm_eval(asked.lm_eval, count, Path(folder))
        else:
            command = [sys.executable, __file__, "--measure", name, "--cases", str(count)]
            said = _last_line(subprocess.run(command, capture_output=True, text=True))
        wall, cpu = (1000 * (many - few) / (count - FEW) for few, many in zip(said["few"], said["many"], strict=True))
        costs[name] = wall
        figures = (count, wall, cpu, said["cold"][0], said["few"][0], said["memory"])
        print(f"{name:10}" + "".join(f"{figure:12.4g}" for figure in figures), flush=True)
    for name in costs:
        if "anybench" in costs and name not in ("anybench", "picture", "bare"):
            print(f"{name} / anybench: {costs[name] / costs['anybench']:.2f}")


if __name__ == "__main__":
    main()
