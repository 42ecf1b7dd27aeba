"""`anybench report`: the gallery of a run, or of several, as a folder that opens from disk."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.errors import warn
from harness.redaction import redact_text
from harness.store import Store
from harness.summary import run_folder
from harness.tracking import TrackingError, track_files, tracking_uri
from reports.gallery import PAGE, Gallery, write_gallery, write_index
from reports.gallery_media import FOLDER
from reports.gallery_run import Shown, read_run
from runners import options
from runners.preparation import select
from runners.reporting import better
from runners.running import ABSENT

# Full-size media go to MLflow where they are few and small; else the page there shows its thumbnails alone.
SENT_FILES, SENT_BYTES = 200, 64 << 20
NAMED = 5


@dataclass(frozen=True, slots=True)
class Page:
    """A run's gallery; `mlflow` is where it was sent, "" where it was not."""

    run: str
    gallery: Gallery
    mlflow: str


def report(asked: argparse.Namespace) -> int:
    """`anybench report`."""
    store, out = options.store_at(asked.store), Path(asked.out)
    folders = [run_folder(store, name) for name in dict.fromkeys(asked.run)]
    runs = {PurePosixPath(folder).name: read_run(store, folder, select) for folder in dict.fromkeys(folders)}
    ways = better()
    if len(runs) == 1:
        places, page = {run: out for run in runs}, out / PAGE
    else:
        places = {run: out / run for run in runs}
        page = write_index([*runs.values()], out, ways)
    pages = [_page(run, shown, places[run], store, ways) for run, shown in runs.items()]
    problems = [line for one in pages for line in one.gallery.problems]
    _say_what_is_not_shown(problems)
    print(f"{'page':8} {page.resolve()}")
    for where in dict.fromkeys(one.mlflow for one in pages if one.mlflow):
        print(f"{'MLflow':8} {where}")
    if asked.json:
        print(json.dumps(_said(page, pages, problems)))
    return ABSENT if problems else 0


def _page(run: str, shown: Shown, out: Path, store: Store, ways: Mapping[str, str]) -> Page:
    gallery = write_gallery(shown, out, ways)
    if shown.summary is None:
        warn(f"run {run} is not summed up yet: its gallery is not sent to MLflow, and shows what is answered so far")
        return Page(run, gallery, "")
    try:
        track_files(shown.summary, out, _worth_sending(gallery), "gallery")
    except TrackingError as error:
        warn(str(error))
        return Page(run, gallery, "")
    return Page(run, gallery, redact_text(tracking_uri(store.url)))


def _worth_sending(gallery: Gallery) -> Sequence[str]:
    """All files of a small gallery; of a large one all but the full-size media."""
    media = [name for name in gallery.files if name.startswith(f"{FOLDER}/")]
    size = sum((gallery.folder / name).stat().st_size for name in media)
    if len(media) <= SENT_FILES and size <= SENT_BYTES:
        return gallery.files
    warn(f"{len(media)} full-size media ({size >> 20} MiB) stay in {gallery.folder}; MLflow gets the thumbnails")
    return [name for name in gallery.files if name not in {*media}]


def _say_what_is_not_shown(problems: Sequence[str]) -> None:
    for line in problems[:NAMED]:
        warn(f"not shown: {line}")
    if len(problems) > NAMED:
        warn(f"not shown: {len(problems) - NAMED} more media, as their cards say")


def _said(page: Path, pages: Sequence[Page], problems: Sequence[str]) -> dict[str, object]:
    return {
        "page": str(page.resolve()),
        "runs": [
            {"run": one.run, "page": str((one.gallery.folder / PAGE).resolve()), "mlflow": one.mlflow} for one in pages
        ],
        "not_shown": len(problems),
    }


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="+", metavar="RUN", help="a run's id, or the beginning of it; several get an index"
    )
    parser.add_argument(
        "--out", required=True, type=options.something, metavar="DIR", help="a new folder, or a gallery's"
    )
    options.add_common(parser)


COMMANDS = (("report", "a page to look at a run: cases, outputs and scores, opened from disk", _add_report, report),)
