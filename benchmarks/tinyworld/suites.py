"""The suites of the drawn world: what the real ones ask, where the truth is known and anything can run.

One case of tiny-editing, "recolour-00": a picture of 64 x 64, "a red striped fish on the beach", then the text

    paint the fish blue

and one image is wanted: the same fish in the same place, blue. A judge (metrics/judging.py) reads the answer and says
whether it is blue, and whether it is still a striped fish on that beach; the target is exact to the pixel.

    tiny-dreambench           one picture of a subject that no training shows, and what to make of it
    tiny-editing              recolour, repattern, reshape, background, add, remove
    tiny-audio                add, drop, replace: pairs of events that no training lets be heard together
    tiny-incontext            exemplar pairs, concept sets, composition: what is meant is only shown
    tiny-conversation         three rounds about a picture; what the first ones made must survive
    tiny-incontext-audio      exemplar pairs of sounds
    tiny-conversation-audio   three rounds about a sound

Conventions
- Data: a folder that `anybench build tinyworld` made, whose cases of the test split are read, or a folder of cases
  itself: `--data DIR/validation-cases` is what every choice made while training looks at. Without data, the small
  folder of cases that the repository ships.
- Every answer that is asked for is of a combination of shape, colour, pattern and background that no training shows,
  but those of earlier rounds of a conversation, some of which may be known; so is every pair of events of a sound.
- Parts are those of the real suites, so that their metrics work; those of the judge are said in asking.py and
  listening.py beside this file. Every turn has a "target" for the oracle.
- In tiny-dreambench "reference" is all four pictures of the subject, of which one is an input; elsewhere the target.
- A suite has either pictures or sounds, since a metric looks at all answers of a suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.coco_editing.places import data_root
from benchmarks.tinyworld.building import WORLD, cases_folder
from benchmarks.tinyworld.folder import FACTS, Found, Medium, Round, Row, open_folder
from harness.errors import UsageError
from harness.nouns import Case, Listing, Media, Suite, Turn

JUDGED = ("instruction_followed", "subject_kept", "rest_kept", "followed_and_kept")
HEARD = ("events_followed", "events_kept", "events_exact")
LOOKS_LIKE = ("color_hist", "dino-tiny", "clip_i-tiny", "clip_t-tiny")
SOUNDS_LIKE = ("kl-tiny", "fd-tiny", "clap-tiny")
EDITED = ("clip_dir-tiny", "clip_instr-tiny", "clip_img-tiny", "dino_source-tiny", "l1", "l2", "ssim", "psnr")
OUTSIDE = ("l1_outside", "ssim_outside")
EXACT = ("l1_target", "ssim_target")
MIXED = ("lsd_clean", "si_sdr", "length_difference", "event_si_sdr", "removed_residual")
LABELLED = ("clap_event_delta-tiny", "clap_removed_delta-tiny", "audio_is-tiny")

EMBEDDED = str(Path(__file__).resolve().parents[1] / "embedded" / "tinyworld")


def reader(name: str, cluster: str) -> Callable[[str], Listing]:
    """What reads the cases of a suite.

    It raises UsageError, one line, where the data is no folder of the drawn world, where its records are not as they
    were written, and where a picture or sound is not the one that was listed. A file that is gone makes its cases
    absent.
    """

    def read(data: str) -> Listing:
        found = _find(data_root(data))
        rows = found.rows(name)
        gone = {path: found.gone(path) for path in dict.fromkeys(one.path for row in rows for one in _media(row))}
        missing = {row.id: next((line for one in _media(row) if (line := gone[one.path])), "") for row in rows}
        return Listing(
            cases=tuple(_case(row, found.folder) for row in rows if not missing[row.id]),
            absent=tuple(
                f"{cluster} {row.tags.get(cluster, '')}: case {row.id}: {missing[row.id]}"
                for row in rows
                if missing[row.id]
            ),
            size=len(rows),
        )

    return read


def _find(root: Path) -> Found:
    for folder in (root, root / cases_folder("test")):
        if (folder / FACTS).is_file():
            return open_folder(folder)
    what = "a drawn world without its cases" if (root / WORLD).is_file() else "no drawn world in it"
    raise UsageError(
        f"{root}: {what}; expected {cases_folder('test')}/{FACTS} or {FACTS}; `anybench build tinyworld` makes one"
    )


def _media(row: Row) -> list[Medium]:
    """The pictures and sounds of a case."""
    every = [
        one for turn in row.rounds for one in (*turn.inputs, *(one for part in turn.parts.values() for one in part))
    ]
    return [one for one in every if one.modality != "text"]


def _case(row: Row, folder: Path) -> Case:
    return Case(row.id, tuple(_turn(one, folder) for one in row.rounds), row.tags)


def _turn(one: Round, folder: Path) -> Turn:
    parts = {role: tuple(_medium(medium, folder) for medium in part) for role, part in one.parts.items()}
    return Turn(tuple(_medium(medium, folder) for medium in one.inputs), one.wants, parts)


def _medium(medium: Medium, folder: Path) -> Media:
    return Media(medium.modality, text=medium.text, uri=str(folder / medium.path) if medium.path else "")


DREAMBENCH = Suite(
    name="tiny-dreambench",
    version=1,
    read=reader("tiny-dreambench", "subject"),
    size=240,
    samples=1,
    metrics=(*JUDGED, *LOOKS_LIKE),
    policy="one-input-all-refs",
    cluster="subject",
    groups=("kind",),
    embedded=EMBEDDED,
)
EDITING = replace(
    DREAMBENCH,
    name="tiny-editing",
    read=reader("tiny-editing", "subject"),
    size=300,
    metrics=(*JUDGED, *EXACT, *EDITED, *OUTSIDE, *LOOKS_LIKE),
    policy="target",
    aggregate="micro",
    groups=("edit",),
)
AUDIO = replace(
    EDITING,
    name="tiny-audio",
    read=reader("tiny-audio", "pair"),
    size=150,
    metrics=(*HEARD, *MIXED, *LABELLED, *SOUNDS_LIKE),
    cluster="pair",
    groups=("task",),
)
INCONTEXT = replace(
    EDITING,
    name="tiny-incontext",
    read=reader("tiny-incontext", "case"),
    size=240,
    cluster="case",
    metrics=(*JUDGED, *LOOKS_LIKE),
    groups=("task",),
)
INCONTEXT_AUDIO = replace(
    AUDIO,
    name="tiny-incontext-audio",
    read=reader("tiny-incontext-audio", "pair"),
    size=60,
    metrics=(*HEARD, *MIXED, *SOUNDS_LIKE),
    groups=("edit",),
)
CONVERSATION = replace(
    INCONTEXT,
    name="tiny-conversation",
    read=reader("tiny-conversation", "case"),
    size=60,
    groups=("kind",),
)
CONVERSATION_AUDIO = replace(
    AUDIO,
    name="tiny-conversation-audio",
    read=reader("tiny-conversation-audio", "pair"),
    size=30,
    metrics=(*HEARD, *SOUNDS_LIKE),
    groups=("kind",),
)
