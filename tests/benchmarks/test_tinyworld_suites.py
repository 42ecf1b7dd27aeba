"""The suites of the drawn world: truths that are true, inputs that do not tell them, folders that are not trusted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmarks import SUITES
from benchmarks.tinyworld.attributes import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    PATTERNS,
    SHAPES,
    WHERE,
    Split,
    Subject,
    split_of,
    split_of_events,
    split_of_subject,
)
from benchmarks.tinyworld.building import CASES
from benchmarks.tinyworld.folder import Studio
from benchmarks.tinyworld.plans import FULL, SMALL, CasePlan
from benchmarks.tinyworld.suites import EMBEDDED
from harness.errors import UsageError
from harness.media import read_audio, read_image
from harness.names import load
from harness.nouns import Case, Listing, Media, Suite, Turn
from systems.codi2.prompts import template

TINY = CasePlan(
    subjects=2,
    prompts=10,
    edits=1,
    examples=7,
    conversations=1,
    sounds=1,
    sound_examples=1,
    sound_conversations=1,
    stems=SMALL.stems,
)
PICTURED = ("tiny-dreambench", "tiny-editing", "tiny-incontext", "tiny-conversation")
SOUNDED = ("tiny-audio", "tiny-incontext-audio", "tiny-conversation-audio")


def suite(name: str) -> Suite:
    found: Suite = load(SUITES[name])
    return found


def listing(name: str, data: str = EMBEDDED) -> Listing:
    return suite(name).read(data)


shipped = cache(listing)


def drawn(folder: Path, split: Split, seed: int, *names: str) -> str:
    """A folder with the cases of these suites alone."""
    folder.mkdir()
    studio = Studio(folder, seed, split)
    studio.write({name: CASES[name](studio, TINY) for name in names})
    return str(folder)


def turns(*names: str) -> Iterator[tuple[Case, Turn]]:
    return ((case, turn) for name in names for case in shipped(name).cases for turn in case.turns)


def text(turn: Turn, role: str) -> str:
    (found,) = turn.parts[role]
    return found.text


def truth(turn: Turn) -> dict[str, str]:
    return dict(word.split("=") for word in text(turn, "truth").split())


def shown(media: Media) -> dict[str, str]:
    """What a picture shows, by its file's name: "red-plain-ball-beach-nothing+8-4-16+0"."""
    colour, pattern, shape, background, rest = Path(media.uri).stem.split("-", 4)
    extra = next(word for word in ("nothing", "balloon", "flag") if rest.startswith(word))
    return {"shape": shape, "colour": colour, "pattern": pattern, "background": background, "extra": extra}


def pose(media: Media) -> str:
    return Path(media.uri).stem.split("-", 4)[4].removeprefix(shown(media)["extra"])


def split(values: dict[str, str]) -> str:
    return split_of(Subject(values["shape"], values["colour"], values["pattern"]), values["background"])


def pixels(media: Media) -> np.ndarray:
    return np.asarray(read_image(media)).astype(int)


def content(media: Media) -> np.ndarray:
    return pixels(media) if media.modality == "image" else samples(media)


def samples(media: Media) -> np.ndarray:
    return np.rint(read_audio(media, 16_000) * 32768).astype(int)


def test_the_shipped_cases_are_complete_and_under_two_and_a_half_megabytes() -> None:
    counts = {name: len(shipped(name).cases) for name in CASES}
    assert counts == {
        "tiny-dreambench": 48,
        "tiny-editing": 48,
        "tiny-audio": 24,
        "tiny-incontext": 36,
        "tiny-incontext-audio": 12,
        "tiny-conversation": 12,
        "tiny-conversation-audio": 12,
    }
    assert not any(shipped(name).absent for name in CASES)
    assert sum(file.stat().st_size for file in Path(EMBEDDED).rglob("*") if file.is_file()) < 2_500_000


def test_a_suites_size_is_that_of_the_full_plan() -> None:
    kinds = {"tiny-dreambench": FULL.subjects * FULL.prompts, "tiny-editing": 6 * FULL.edits}
    kinds |= {"tiny-audio": 3 * FULL.sounds, "tiny-incontext": 3 * FULL.examples}
    kinds |= {"tiny-incontext-audio": 3 * FULL.sound_examples, "tiny-conversation": 2 * FULL.conversations}
    kinds |= {"tiny-conversation-audio": 2 * FULL.sound_conversations}
    assert {name: suite(name).size for name in CASES} == kinds


def test_every_target_shows_its_truth_and_what_is_asked_and_kept_is_all_of_it() -> None:
    for case, turn in turns(*PICTURED):
        (target,) = turn.parts["target"]
        assert truth(turn).items() <= shown(target).items(), case.id
        kept = text(turn, "kept").split() if "kept" in turn.parts else []
        assert sorted([*text(turn, "asked").split(), *kept]) == sorted(truth(turn)), case.id


def test_every_answer_that_counts_last_is_of_a_combination_or_pair_that_only_the_test_split_shows() -> None:
    for name in PICTURED:
        for case in shipped(name).cases:
            assert split(shown(case.turns[-1].parts["target"][0])) == "test", case.id
    for name in SOUNDED:
        for case in shipped(name).cases:
            heard = [text(turn, "truth_events").split() for turn in case.turns]
            pairs = [pair for events in heard for pair in combinations(events, 2)]
            assert all(split_of_events(pair) == "test" for pair in pairs), case.id


def test_nothing_of_another_held_out_split_is_shown() -> None:
    for case, turn in turns(*PICTURED):
        media = [one for part in (turn.inputs, turn.parts["target"]) for one in part if one.modality == "image"]
        assert all(split(shown(one)) in ("training", "test") for one in media), case.id


def test_dreambench_asks_of_subjects_that_no_training_shows_and_never_says_what_only_the_picture_tells() -> None:
    for case, turn in turns("tiny-dreambench"):
        picture, prompt = turn.inputs
        subject, words = shown(picture), prompt.text.split()
        assert split_of_subject(Subject(subject["shape"], subject["colour"], subject["pattern"])) == "test"
        assert {shown(one)["shape"] for one in turn.parts["reference"]} == {subject["shape"]}
        assert len({shown(one)["background"] for one in turn.parts["reference"]}) == 4
        assert subject["shape"] in words, case.id
        asked = text(turn, "asked").split()
        told = {*words} & {*COLOURS, *PATTERNS}
        assert told == {truth(turn)[name] for name in ("colour", "pattern") if name in asked}, case.id
        assert subject["background"] != truth(turn).get("background"), "a copy is never right"


def test_an_edit_changes_the_one_attribute_and_the_mask_is_where_the_pixels_differ() -> None:
    for case, turn in turns("tiny-editing"):
        (source,), (target,), (mask,) = (turn.parts[role] for role in ("source", "target", "mask"))
        differing = [name for name, value in shown(target).items() if shown(source)[name] != value]
        assert " ".join(differing) == text(turn, "asked"), case.id
        assert pose(source) == pose(target)
        changed = (pixels(source) != pixels(target)).any(axis=2)
        assert np.array_equal(pixels(mask)[..., 0] == 255, changed) and changed.any()


def test_what_is_added_or_removed_is_in_the_words_and_what_is_replaced_is_not_left_open() -> None:
    for case, turn in turns("tiny-editing"):
        (name,) = text(turn, "asked").split()
        new, old = truth(turn)[name], shown(turn.parts["source"][0])[name]
        said = text(turn, "instruction")
        expected = WHERE[new] if name == "background" else old if case.tags["edit"] == "remove" else new
        assert expected in said, case.id


def test_sounds_are_sums_of_their_stems_to_the_sample() -> None:
    for _, turn in turns("tiny-audio", "tiny-incontext-audio"):
        base, source, target = (samples(turn.parts[role][0]) for role in ("base", "source", "target"))
        event = samples(turn.parts["event"][0]) if "event" in turn.parts else 0
        removed = samples(turn.parts["removed"][0]) if "removed" in turn.parts else 0
        assert np.array_equal(source, base + removed) and np.array_equal(target, base + event)


def test_the_words_of_a_sound_name_its_events_and_asked_ones_are_those_that_come_and_go() -> None:
    for case in shipped("tiny-audio").cases:
        (turn,) = case.turns
        after = text(turn, "truth_events").split()
        before = Path(turn.inputs[0].uri).stem.split("+")
        assert after == sorted(after) and {*after} <= {*EVENTS}
        assert {*text(turn, "asked_events").split()} == {*after} ^ {one.split("-")[0] for one in before}, case.id


def test_concepts_share_the_asked_attribute_and_nothing_else_and_the_words_tell_the_rest() -> None:
    for case, turn in turns("tiny-incontext"):
        if case.tags["task"] != "concept":
            continue
        *pictures, prompt = turn.inputs
        name = text(turn, "asked")
        rows = [shown(one) for one in pictures]
        assert {row[name] for row in rows} == {truth(turn)[name]}
        for other in {*rows[0]} - {name}:
            assert len({row[other] for row in rows}) == len(rows), (case.id, other)
        values = {"shape": SHAPES, "colour": COLOURS, "pattern": PATTERNS, "background": BACKGROUNDS}
        told = {one: WHERE[value] if one == "background" else value for one, value in truth(turn).items()}
        assert all(words in prompt.text for one, words in told.items() if one != name), case.id
        assert not {*prompt.text.split()} & {*values[name]}, "the shared value is only shown"


def test_exemplars_show_the_very_change_that_is_to_be_made() -> None:
    for case, turn in turns("tiny-incontext"):
        if case.tags["task"] == "exemplar":
            first, second, third = map(shown, turn.inputs)
            name = text(turn, "asked")
            assert {one for one in first if first[one] != second[one]} == {name}
            assert (first[name], second[name]) == (third[name], truth(turn)[name])
            assert {**third, name: second[name]} == truth(turn), case.id


def test_compositions_take_of_each_later_picture_what_the_words_before_it_say() -> None:
    for case, turn in turns("tiny-incontext"):
        if case.tags["task"] == "composition":
            first, *others = (shown(one) for one in turn.inputs if one.modality == "image")
            words = [one.text for one in turn.inputs if one.modality == "text"]
            taken = {word.split()[-2]: other for word, other in zip(words, others, strict=True)}
            assert sorted(taken) == sorted(text(turn, "asked").split())
            assert {**first, **{name: other[name] for name, other in taken.items()}} == truth(turn), case.id


def test_in_a_conversation_every_round_keeps_what_was_said_before_and_asks_for_one_thing_more() -> None:
    for case in shipped("tiny-conversation").cases:
        assert len(case.turns) == 3
        before: dict[str, str] = {}
        for turn in case.turns:
            asked = text(turn, "asked").split()
            assert {name: value for name, value in before.items() if name not in asked}.items() <= truth(turn).items()
            before = truth(turn)
        assert [one.modality for one in case.turns[1].inputs] == ["text"]
        assert len({pose(turn.parts["target"][0]) for turn in case.turns}) == 1


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("tiny-dreambench", "subject-driven"),
        ("tiny-editing", "editing"),
        ("tiny-audio", ""),
        ("tiny-incontext", ""),
        ("tiny-incontext-audio", "exemplar"),
    ],
)
def test_inputs_fit_the_template_of_their_task(name: str, task: str) -> None:
    for case in shipped(name).cases:
        assert template(case, case.turns[0]).name == (task or case.tags["task"])


def test_all_groups_and_clusters_are_tags_of_every_case() -> None:
    for name in CASES:
        wanted = {suite(name).cluster, *suite(name).groups}
        assert all(wanted <= {*case.tags} for case in shipped(name).cases), name


def test_the_shipped_cases_are_what_the_software_draws(tmp_path: Path) -> None:
    """The first subjects and edits of them: what other cases there are changes none of a case's draws."""
    names = ("tiny-editing", "tiny-conversation", "tiny-conversation-audio")
    data = drawn(tmp_path / "cases", "test", 0, *names)
    for name in names:
        for case in listing(name, data).cases:
            same = next(one for one in shipped(name).cases if one.id == case.id)
            assert same.tags["task"] == case.tags["task"]
            for mine, theirs in zip(case.turns, same.turns, strict=True):
                assert [one.text for one in mine.inputs] == [one.text for one in theirs.inputs]
                for role in {"target", "mask"} & {*mine.parts}:
                    assert np.array_equal(*(content(one.parts[role][0]) for one in (mine, theirs))), case.id


def test_a_full_subject_has_ten_prompts_and_every_kind_of_in_context_case_takes_turns(tmp_path: Path) -> None:
    data = drawn(tmp_path / "cases", "validation", 3, "tiny-dreambench", "tiny-incontext")
    subjects = listing("tiny-dreambench", data).cases
    assert [case.id[-2:] for case in subjects] == [f"{number:02d}" for number in range(10)] * 2
    assert sum(case.tags["kind"] == "property" for case in subjects) == 6
    assert all(split(shown(case.turns[0].parts["target"][0])) == "validation" for case in subjects)
    kinds = {(case.tags["task"], case.tags["of"]) for case in listing("tiny-incontext", data).cases}
    assert len(kinds) == 6 + 4 + 5


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with one edit of each kind."""
    return drawn(tmp_path_factory.mktemp("few") / "cases", "test", 0, "tiny-editing")


@pytest.fixture
def copied(few: str, tmp_path: Path) -> Path:
    shutil.copytree(few, tmp_path / "cases")
    return tmp_path / "cases"


def test_a_picture_that_is_gone_makes_its_cases_absent_and_is_named(copied: Path) -> None:
    case = listing("tiny-editing", str(copied)).cases[0]
    Path(case.turns[0].parts["mask"][0].uri).unlink()
    found = listing("tiny-editing", str(copied))
    assert (len(found.cases), found.size) == (5, 6)
    assert found.absent == (f"subject {case.tags['subject']}: case {case.id}: no file masks/{case.id}.png in {copied}",)


def test_a_picture_that_is_another_is_refused(copied: Path) -> None:
    first, second, *_ = sorted((copied / "masks").iterdir())
    shutil.copy(first, second)
    with pytest.raises(UsageError, match=rf"{second.name}: not the file that files\.jsonl describes; build the world"):
        listing("tiny-editing", str(copied))


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("tiny-editing.jsonl", '"id": "repattern-00"', '"id": "recolour-00"', "recolour-00 stands there twice"),
        ("tiny-editing.jsonl", '"wants": ["image"]', '"wants": ["smell"]', r"tiny-editing\.jsonl line 1: .*smell"),
        ("tiny-editing.jsonl", '"path": "pictures/', '"path": "../', "is not listed"),
        ("suite.json", '"tiny-editing": 6', '"tiny-editing": 7', "6 cases, suite.json says 7"),
        ("suite.json", '"version": 1', '"version": 2', "tinyworld version 2, tinyworld 1 is read"),
        ("suite.json", '"seed": 0', '"seed": "x"', r"suite\.json: .*seed"),
        ("files.jsonl", '"bytes"', '"size"', r"files\.jsonl line 1: .*size"),
    ],
)
def test_records_that_are_not_as_they_were_written_are_named(
    copied: Path, file: str, before: str, after: str, said: str
) -> None:
    words = (copied / file).read_text("utf-8")
    assert before in words
    (copied / file).write_text(words.replace(before, after, 1), "utf-8")
    with pytest.raises(UsageError, match=f"(?s){said}.*build the world again"):
        listing("tiny-editing", str(copied))


def test_a_path_that_leads_out_of_the_folder_is_refused(copied: Path) -> None:
    (copied.parent / "outside.png").write_bytes(b"anything")
    for file in ("files.jsonl", "tiny-editing.jsonl"):
        lines = (copied / file).read_text("utf-8")
        (copied / file).write_text(lines.replace("masks/add-00.png", "../outside.png"), "utf-8")
    with pytest.raises(UsageError, match="outside the folder of cases"):
        listing("tiny-editing", str(copied))


def test_a_folder_that_is_no_drawn_world_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no drawn world in it; .*anybench build tinyworld"):
        listing("tiny-editing", str(tmp_path))
    (tmp_path / "world.json").write_text(json.dumps({}))
    with pytest.raises(UsageError, match="a drawn world without its cases"):
        listing("tiny-editing", str(tmp_path))
