"""Runs written straight into a store: what `anybench run` leaves there, without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from harness.generation import GENERATIONS
from harness.identity import digest_cases, run_id
from harness.inputs import by_digest, put, write_cases
from harness.media import encode_image
from harness.nouns import Case, Generation, Media, Result, Run, Score, Selection, Summary, Turn
from harness.scoring import Scored, write_scores
from harness.store import Store, Table
from harness.summary import Beginning, write_beginning, write_summary

RUN = Run("toy", 1, "data-digest", "painter", 1, "code-digest", "", 0, {})


def noise(seed: int, edge: int = 40) -> bytes:
    """A PNG that no other seed gives."""
    return encode_image(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (edge, edge, 3), dtype=np.uint8)))


def text(words: str) -> Media:
    """A text."""
    return Media("text", text=words)


def painting_case(name: str, prompt: str, picture: Path, **tags: str) -> Case:
    """A case that shows a picture and asks for another."""
    shown = Media("image", uri=str(picture))
    return Case(name, (Turn((shown, text(prompt)), ("image",), {"reference": (shown,)}),), tags)


def put_run(
    store: Store,
    cases: Sequence[Case],
    samples: int,
    answer: Mapping[tuple[str, int], bytes | str | None],
    scores: Mapping[str, Mapping[tuple[str, int], float]],
    summarised: bool = True,
    checkpoint: str = "",
    absent: tuple[str, ...] = (),
    run: Run = RUN,
    degenerate: Mapping[tuple[str, int], tuple[str, ...]] | None = None,
) -> str:
    """Store a run of cases of one turn and one output; returns its folder.

    An answer of bytes is a medium, one of text an error; what is not named has no answer.
    """
    inputs = by_digest(cases)
    run = replace(run, data=digest_cases(inputs.cases))
    folder = f"runs/{run_id(run)}"
    put(store, inputs, {case.id: case for case in inputs.cases})
    write_beginning(store, folder, Beginning(run, checkpoint, absent, "2026-01-02T03:04:05+00:00", {"torch": "2.13.0"}))
    write_cases(store, folder, inputs.cases)
    rows = []
    for (case, sample), given in answer.items():
        row = Generation(case, sample, 0, degenerate=(degenerate or {}).get((case, sample), ()))
        if isinstance(given, bytes):
            row = replace(row, outputs=(store.put_media(f"{folder}/media", given),))
        rows.append(replace(row, error=given) if isinstance(given, str) else row)
    Table(store, f"{folder}/generations", GENERATIONS).append([asdict(row) for row in rows])
    results = []
    for metric, values in scores.items():
        own = tuple(Score(metric, case, 0, sample, 0, value) for (case, sample), value in values.items())
        mean = float(np.mean([*values.values()]))
        result = Result(metric, "", mean, 0.25, 0.75, len(own), len(cases) * samples, f"{metric}|v1|toy@1", False)
        write_scores(store, folder, Scored(metric, own, (result,)))
        results.append(result)
    if summarised:
        failed = [row.error for row in rows if row.error]
        summary = Summary(
            run_id=run_id(run),
            store=store.url,
            run=run,
            checkpoint=checkpoint,
            selection=Selection(samples),
            expected=len(cases) * samples,
            planned=len(cases) * samples,
            generated=len(rows) - len(failed),
            failed=len(failed),
            failures=tuple(failed[:3]),
            degenerate={},
            absent=absent,
            results=tuple(results),
            table="",
            started="2026-01-02T03:04:05+00:00",
            provenance={"torch": "2.13.0"},
        )
        write_summary(store, folder, summary)
    return folder
