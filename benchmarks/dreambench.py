"""DreamBench: draw this very subject in another scene. 30 subjects, 25 prompts each, 4 samples: 3,000 images.

One case, "dog6-03": the five photographs 00.jpg ... 04.jpg of the puppy dog6, then the text

    a dog on a cobblestone street

and one image is wanted. DINO and CLIP-I compare it with the photographs, CLIP-T with the text.

Source: Ruiz et al., DreamBooth, CVPR 2023 (arXiv 2208.12242), section 4; data set github.com/google/dreambooth at
commit 4f887af, read as it is published: `dataset/<subject>/NN.jpg` and `dataset/prompts_and_classes.txt`.

Conventions
- A subject is "live" when its class is cat or dog (9 subjects), else an "object" (21); each kind has its 25 prompts.
- Order: subjects as in the published table, then the index of the prompt, 0-24. Photographs are in order of file name.
- The scored text, part "prompt", is the published template with the unique token deleted, the class noun kept and
  single spaces (KOSMOS-G `eval/dreambench_prompts.py`). What the system is given is a Media of its own with the same
  words; `tags["template"]` ("a {} dog on a cobblestone street") lets a tuned system put in the token it was tuned to.
- Two policies, never ranked together. "all-refs": every photograph is an input and a reference; the mean is taken per
  subject and then over subjects. "single-ref": one kept photograph is the only input and the only reference; the mean
  is flat over images (KOSMOS-G, ICLR 2024, github.com/microsoft/unilm at 7b4b9f0:
  `scripts/remove_dreambench_multiimg.sh`, `eval/dino_score.py`, `eval/clip_score.py`).
- The oracle, the published row "Real Images", has one case a photograph, "dog6-photo-02": the target is the photograph,
  the references are the subject's other photographs ("distinct-pairs"). A subject with a single photograph makes no
  pair: its case has no reference, so the metrics over distinct pairs have no score for it.

What is not as published
- A subject without its folder is named in `Listing.absent`; so is one with more or fewer photographs than published,
  which runs with the photographs that are there, if any. For "single-ref" only the kept photograph counts.
- A name is a promise, so nothing is added to DreamBench silently: a changed prompt, a folder that is no subject, and
  anything in a subject's folder but NN.jpg are errors. Names that begin with a dot are ignored, and so are files beside
  the folders. Subjects of your own are a suite of their own.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from harness.errors import UsageError
from harness.nouns import Case, Listing, Media, Suite, Turn

PROMPTS = "prompts_and_classes.txt"
PROMPTS_CHARACTERS = 1 << 16  # the published file has 5,000
PROMPTS_DIGEST = "bdc6a04a072ffc12191e9615063a574e510cb440bca36181cb310032c5194ba8"
"""SHA-256 of what is read from the published file: rows of the table, object templates, live templates, a line each."""


class Published(NamedTuple):
    """How many photographs of a subject are published, and the number of the one that KOSMOS-G keeps."""

    photographs: int
    kept: int


PUBLISHED: Mapping[str, Published] = {
    "backpack": Published(6, kept=2),
    "backpack_dog": Published(5, kept=2),
    "bear_plushie": Published(5, kept=3),
    "berry_bowl": Published(6, kept=2),
    "can": Published(6, kept=1),
    "candle": Published(5, kept=2),
    "cat": Published(5, kept=4),
    "cat2": Published(5, kept=2),
    "clock": Published(6, kept=3),
    "colorful_sneaker": Published(5, kept=1),
    "dog": Published(5, kept=2),
    "dog2": Published(6, kept=2),
    "dog3": Published(6, kept=5),
    "dog5": Published(5, kept=0),
    "dog6": Published(5, kept=2),
    "dog7": Published(5, kept=1),
    "dog8": Published(5, kept=4),
    "duck_toy": Published(4, kept=1),
    "fancy_boot": Published(6, kept=2),
    "grey_sloth_plushie": Published(5, kept=4),
    "monster_toy": Published(5, kept=4),
    "pink_sunglasses": Published(6, kept=4),
    "poop_emoji": Published(5, kept=0),
    "rc_car": Published(5, kept=3),
    "red_cartoon": Published(4, kept=0),
    "robot_toy": Published(5, kept=0),
    "shiny_sneaker": Published(6, kept=1),
    "teapot": Published(5, kept=4),
    "vase": Published(6, kept=2),
    "wolf_plushie": Published(5, kept=4),
}
"""Every subject. The kept numbers are those of KOSMOS-G's `scripts/remove_dreambench_multiimg.sh`."""

MINI_SUBJECTS = ("berry_bowl", "dog6", "vase")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The published file: the class noun of each subject, in order, and 25 templates for each kind.

    In a template {0} stands for the unique token and {1} for the class noun.
    """

    nouns: Mapping[str, str]
    objects: tuple[str, ...]
    live: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject as it was found: its photographs (none where it is absent) and what is amiss ("" when nothing is).

    In `templates` the class noun is filled in and {} stands for the unique token.
    """

    name: str
    noun: str
    kind: str
    templates: tuple[str, ...]
    photographs: tuple[Media, ...]
    amiss: str


def read(data: str) -> Listing:
    """The 750 cases of the policy "all-refs".

    `data` is a root that holds `dreambench/`, or the published repository's folder, or its `dataset` folder; links that
    lead out of it are refused. Nothing is decoded. Raises UsageError, one line, where the layout is not as published.
    """
    return _listing(_subjects(data, PUBLISHED), _prompt_cases)


def read_single(data: str) -> Listing:
    """The 750 cases of the policy "single-ref"; `data` and errors as for `read`."""
    return _listing([_kept(subject) for subject in _subjects(data, PUBLISHED)], _prompt_cases)


def read_mini(data: str) -> Listing:
    """The 75 cases of `read` that ask for the three embedded subjects; `data` and errors as for `read`."""
    return _listing(_subjects(data, MINI_SUBJECTS), _prompt_cases)


def read_photographs(data: str) -> Listing:
    """The oracle's cases, one for each of the 158 photographs; `data` and errors as for `read`."""
    return _listing(_subjects(data, PUBLISHED), _photograph_cases)


def read_mini_photographs(data: str) -> Listing:
    """The oracle's cases of the three embedded subjects, 17 photographs; `data` and errors as for `read`."""
    return _listing(_subjects(data, MINI_SUBJECTS), _photograph_cases)


def without_token(template: str) -> str:
    """The scored text of a template of `tags["template"]`: the slot of the unique token deleted, single spaces."""
    return " ".join(template.format("").split())


def _listing(subjects: Iterable[Subject], cases: Callable[[Subject], Iterator[Case]]) -> Listing:
    """The cases of those subjects that have photographs, and what is amiss with any."""
    found = list(subjects)
    return Listing(
        cases=tuple(case for subject in found if subject.photographs for case in cases(subject)),
        absent=tuple(subject.amiss for subject in found if subject.amiss),
    )


def _prompt_cases(subject: Subject) -> Iterator[Case]:
    """One case for each prompt: every photograph the subject has is an input and a reference."""
    for index, template in enumerate(subject.templates):
        text = without_token(template)
        turn = Turn(
            inputs=(*subject.photographs, Media("text", text=text)),
            wants=("image",),
            parts={"reference": subject.photographs, "prompt": (Media("text", text=text),)},
        )
        yield Case(f"{subject.name}-{index:02d}", (turn,), {**_tags(subject), "template": template})


def _photograph_cases(subject: Subject) -> Iterator[Case]:
    """One case for each photograph, to be compared with the others of its subject."""
    for photograph in subject.photographs:
        others = tuple(other for other in subject.photographs if other is not photograph)
        parts = {"target": (photograph,), "reference": others, "subject": subject.photographs}
        turn = Turn(inputs=(), wants=("image",), parts=parts)
        yield Case(f"{subject.name}-photo-{Path(photograph.uri).stem}", (turn,), _tags(subject))


def _tags(subject: Subject) -> dict[str, str]:
    return {"subject": subject.name, "class": subject.noun, "kind": subject.kind}


def _kept(subject: Subject) -> Subject:
    """The subject with the one photograph that KOSMOS-G keeps, whatever else is there."""
    if not subject.photographs:
        return subject
    name = f"{PUBLISHED[subject.name].kept:02d}.jpg"
    kept = tuple(photograph for photograph in subject.photographs if Path(photograph.uri).name == name)
    folder = Path(subject.photographs[0].uri).parent
    amiss = "" if kept else f"subject {subject.name}: the kept photograph {name} is not in {folder}"
    return replace(subject, photographs=kept, amiss=amiss)


def _subjects(data: str, names: Collection[str]) -> tuple[Subject, ...]:
    """The subjects called `names`, in the published order, as the folder `data` has them."""
    root = Path(os.path.realpath(data))
    try:
        dataset = _dataset(root)
        _refuse_links_out(dataset, root)
        prompts = _prompts(dataset / PROMPTS)
        _refuse_strangers(dataset, prompts.nouns)
        subjects = tuple(_subject(dataset, name, prompts) for name in prompts.nouns if name in names)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror})") from None
    if not any(subject.photographs for subject in subjects):
        raise UsageError(f"{dataset}: no photographs of any subject; expected {next(iter(names))}/00.jpg and so on")
    return subjects


def _dataset(root: Path) -> Path:
    """The `dataset` folder in what the user calls the data."""
    if root.is_file():
        raise UsageError(f"{root}: a file, where the data folder is expected; unpack an archive first")
    if not root.is_dir():
        raise UsageError(f"{root}: no such data folder")
    for folder in (root / "dreambench" / "dataset", root / "dataset", root):
        if (folder / PROMPTS).is_file():
            return folder
    raise UsageError(
        f"{root}: no DreamBench in it; expected dreambench/dataset/{PROMPTS}, dataset/{PROMPTS} or {PROMPTS}, "
        "beside one folder of photographs a subject (the layout of github.com/google/dreambooth)"
    )


def _refuse_links_out(dataset: Path, root: Path) -> None:
    for path in (dataset, *dataset.glob("*"), *dataset.glob("*/*")):
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise UsageError(f"{path}: a link that leaves the data folder {root}; put a copy in its place")


def _refuse_strangers(dataset: Path, subjects: Collection[str]) -> None:
    strangers = sorted(path.name for path in dataset.iterdir() if path.is_dir() and path.name not in subjects)
    visible = [name for name in strangers if not name.startswith(".")]
    if visible:
        raise UsageError(f"{dataset / visible[0]}: not a subject of {PROMPTS}; move it out of the data set")


def _prompts(path: Path) -> Prompts:
    """The published file, parsed; a UsageError where its words are not the published ones."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(PROMPTS_CHARACTERS)
    rows = re.findall(r"^(\w+),(\w[\w ]*\w)\s*?$", text, re.MULTILINE)
    before, _, after = text.partition("Live Subject Prompts")
    objects, live = (tuple(re.findall(r"^'(.+)'\.format\(", part, re.MULTILINE)) for part in (before, after))
    prompts = Prompts({subject: noun for subject, noun in rows if subject != "subject_name"}, objects, live)
    if _digest(prompts) != PROMPTS_DIGEST:
        found = f"{len(prompts.nouns)}, {len(objects)} and {len(live)}"
        raise UsageError(
            f"{path}: not the published file of 30 subjects, 25 object and 25 live prompts (found {found}, or other "
            "words); restore it from github.com/google/dreambooth"
        )
    return prompts


def _digest(prompts: Prompts) -> str:
    table = (f"{subject},{noun}" for subject, noun in prompts.nouns.items())
    return hashlib.sha256("\n".join((*table, *prompts.objects, *prompts.live)).encode()).hexdigest()


def _subject(dataset: Path, name: str, prompts: Prompts) -> Subject:
    noun = prompts.nouns[name]
    kind = "live" if noun in ("cat", "dog") else "object"
    templates = prompts.live if kind == "live" else prompts.objects
    folder = dataset / name
    photographs = _photographs(folder) if folder.is_dir() else ()
    return Subject(
        name=name,
        noun=noun,
        kind=kind,
        templates=tuple(template.format("{}", noun) for template in templates),
        photographs=photographs,
        amiss=_amiss(folder, len(photographs)),
    )


def _photographs(folder: Path) -> tuple[Media, ...]:
    """The photographs of a subject's folder in order of file name."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in paths:
        if not re.fullmatch(r"[0-9]{2}\.jpg", path.name) or not path.is_file():
            raise UsageError(
                f"{path}: not a photograph of DreamBench (00.jpg, 01.jpg, ...); move it out of the data set"
            )
    return tuple(Media("image", uri=str(path)) for path in paths)


def _amiss(folder: Path, found: int) -> str:
    published = PUBLISHED[folder.name].photographs
    if not folder.is_dir():
        return f"subject {folder.name}: no folder {folder.parent.name}/{folder.name} in {folder.parent.parent}"
    if found != published:
        return f"subject {folder.name}: {found} photographs in {folder}, {published} are published"
    return ""


ORACLE = Suite(
    name="dreambench",
    version=1,
    read=read_photographs,
    size=158,
    samples=1,
    metrics=(
        *("dino", "dino_distinct_micro", "dino_self_macro", "dino_self_micro"),
        *("clip_i", "clip_i_distinct_micro", "clip_i_self_macro", "clip_i_self_micro"),
    ),
    policy="distinct-pairs",
    cluster="subject",
    groups=("subject", "kind"),
    table="codi2_t4_left",
)
"""The published row "Real Images": DINO 0.774, CLIP-I 0.885 (DreamBooth, table 1), and the three other ways to pair."""

DREAMBENCH = Suite(
    name="dreambench",
    version=1,
    read=read,
    size=750,
    samples=4,
    metrics=("dino", "clip_i", "clip_t"),
    policy="all-refs",
    cluster="subject",
    groups=("subject", "kind"),
    table="codi2_t4_left",
    oracle=ORACLE,
)

DREAMBENCH_SINGLE = replace(
    DREAMBENCH,
    name="dreambench-single",
    read=read_single,
    policy="single-ref",
    aggregate="micro",
    oracle=replace(ORACLE, name="dreambench-single"),
)

EMBEDDED = str(Path(__file__).resolve().parent / "embedded")

DREAMBENCH_MINI = replace(
    DREAMBENCH,
    name="dreambench-mini",
    read=read_mini,
    size=75,
    metrics=("color_hist", *DREAMBENCH.metrics),
    embedded=EMBEDDED,
    table="",
    oracle=replace(
        ORACLE,
        name="dreambench-mini",
        read=read_mini_photographs,
        size=17,
        metrics=("color_hist", *ORACLE.metrics),
        embedded=EMBEDDED,
        table="",
    ),
)
