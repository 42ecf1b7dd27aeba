"""`anybench chat` as a person types it: answers are kept and named, and what fails or is cancelled was never said."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_toys import MADE, PARROT
from hypothesis import given
from hypothesis import strategies as st
from media_toys import clip, picture, quick, sound, tone

from harness import media
from harness.errors import UsageError
from harness.identity import digest_bytes, digest_tree
from harness.nouns import Media
from runners.chat import HELP, read_message
from runners.cli import main
from runners.transcript import Transcript
from systems import SYSTEMS
from systems.codi2 import model
from systems.codi2.tiny import codi2

Talk = Callable[..., int]
SECONDS = 90.0


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    """A chat with the toy, into which lines are piped, kept in the folder `out`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SYSTEMS, "parrot", PARROT)  # type: ignore[misc]
    (tmp_path / "seeds").write_text("a checkpoint")

    def talked(*lines: str | bytes, flags: tuple[str, ...] = ("--checkpoint", "seeds", "--out", "out")) -> int:
        typed = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        return main(["chat", "--system", "parrot", *flags])

    before = signal.getsignal(signal.SIGINT)
    yield talked
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Things to attach, some of which are none."""
    for name in ("a.png", "my dog.png"):
        (tmp_path / name).write_bytes(picture("PNG"))
    (tmp_path / "bark.flac").write_bytes(sound("FLAC", "PCM_16", tone(800)))
    (tmp_path / "walk.mp4").write_bytes(clip())
    (tmp_path / "cut.png").write_bytes(picture("PNG")[:-40])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    return tmp_path


def transcript(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "transcript.jsonl").read_text().splitlines()]


def complaints(said: str) -> list[str]:
    """What stands on stderr after the line that the chat begins with."""
    begun, *rest = said.splitlines()
    assert begun.startswith("parrot: answers are kept in ")
    return rest


def test_answers_are_printed_and_kept_under_the_names_that_are_printed(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk("hello", "draw and sing, then film", "draw sing film", "/quit", "never read") == 0
    said = capsys.readouterr()
    files = ["out/turn-03-1.png", "out/turn-03-2.flac", "out/turn-03-3.mp4"]
    assert said.out.splitlines() == [
        *("0: hello", "0: hello | draw and sing, then film", "out/turn-02-1.png (forced_tag)", "out/turn-02-2.mp4"),
        *("0: hello | draw and sing, then film | draw sing film", f"{files[0]} (forced_tag)", *files[1:]),
    ]
    assert complaints(said.err) == []
    kept = [(tmp_path / name).read_bytes() for name in files]
    assert kept == [one.data for one in MADE.values()]
    _, _, _, turn = transcript(tmp_path / "out")
    assert turn["outputs"][0] == {"modality": "text", "text": said.out.splitlines()[4], "flags": []}
    assert turn["outputs"][1:] == [
        {"modality": modality, "file": Path(name).name, "digest": digest_bytes(data), "flags": flags}
        for modality, name, data, flags in zip(
            ("image", "audio", "video"), files, kept, (["forced_tag"], [], []), strict=True
        )
    ]


def test_the_transcript_begins_with_what_made_the_answers(talk: Talk, tmp_path: Path) -> None:
    flags = ("--checkpoint", "seeds", "--out", "out", "--seed", "7", "--set", "mood=good")
    assert talk("hello", flags=flags) == 0
    head, turn = transcript(tmp_path / "out")
    assert (head["format"], head["version"], head["system"], head["seed"]) == ("anybench-chat", 1, "parrot", 7)
    assert (head["digest"], head["settings"]) == (digest_tree(tmp_path / "seeds"), {"mood": "good"})
    assert head["checkpoint"] == str(tmp_path / "seeds")
    assert turn["outputs"][0]["text"] == "7: hello"


def test_files_stand_among_the_words_where_they_were_named(talk: Talk, photographs: Path) -> None:
    assert talk('put @a.png beside @"my dog.png", hear @bark.flac @walk.mp4') == 0
    (turn,) = transcript(photographs / "out")[1:]
    assert turn["outputs"][0]["text"] == "0: put <image> beside <image> , hear <audio> <video>"
    dog = {"modality": "image", "file": str(photographs / "my dog.png"), "digest": digest_bytes(picture("PNG"))}
    assert turn["inputs"][2:4] == [{"modality": "text", "text": "beside"}, dog]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("write to a@b.org", ["write to a@b.org"]),
        ("say @@home to @@you", ["say @home to @you"]),
        ("@@@home", ["@@home"]),
        ("(@a.png)", ["(@a.png)"]),
        ("@a.png", ["<image>"]),
        ("  @a.png   then  two ", ["<image>", "then  two"]),
        ('@"a.png"s', ["<image>", "s"]),
        ("@@x @a.png @@y", ["@x", "<image>", "@y"]),
    ],
)
def test_an_at_is_a_file_at_the_beginning_of_a_word_alone(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]
) -> None:
    monkeypatch.chdir(photographs)
    assert [one.text or f"<{one.modality}>" for one in read_message(line)] == words


@quick
@given(st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"])))
def test_words_without_files_are_one_text_as_it_was_typed(line: str) -> None:
    expected = (Media("text", text=line.strip(), digest=digest_bytes(line.strip().encode())),) if line.strip() else ()
    assert read_message(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("see @absent.png", "@absent.png: no such file"),
        ("see @a.png, too", "@a.png,: no such file"),
        ("see @folder", "@folder: no such file"),
        ("see @ noon", "@: no such file"),
        ('see @"my dog', '@"my: no such file'),
        ("see @cut.png", "cut.png: "),
        ("see @empty.png", "empty.png: an empty file"),
        ("see @notes.txt", "are no image, sound or video"),
        ("see @a\x1b[31m\0.png", "@a\\x1b[31m\\x00.png: no such file"),
    ],
)
def test_a_turn_with_a_file_that_cannot_be_used_is_not_sent_and_said_in_one_line(
    talk: Talk, photographs: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert talk(line, "hello") == 0
    out, err = capsys.readouterr()
    (complaint,) = complaints(err)
    assert said in complaint and complaint.endswith("; the conversation is as it was before")
    assert out == "0: hello\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fail", "case chat: the prompt is \\x1b[31m4 positions too long"),
        ("interrupt", "cancelled"),
        ("too much", "the device's memory ran out (CUDA out of memory)"),
    ],
)
def test_a_turn_that_fails_or_is_cancelled_was_never_said(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert talk("one", f"draw {line}", "draw", "/history") == 0
    out, err = capsys.readouterr()
    assert complaints(err) == [f"anybench: {said}; the conversation is as it was before"]
    answers = ["0: one", "0: one | draw", "out/turn-02-1.png (forced_tag)"]
    assert out.splitlines() == [*answers, "> one", answers[0], "> draw", *answers[1:]]
    assert [turn["turn"] for turn in transcript(tmp_path / "out")[1:]] == [1, 2]
    assert sorted(file.name for file in (tmp_path / "out").glob("turn-*")) == ["turn-02-1.png"]


def test_a_bug_keeps_its_traceback_and_what_was_answered(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk("one", "crash", "two") == 1
    assert "ArithmeticError: a bug" in capsys.readouterr().err
    assert [turn["outputs"][0]["text"] for turn in transcript(tmp_path / "out")[1:]] == ["0: one"]


def test_a_new_conversation_knows_nothing_of_the_one_before_and_overwrites_nothing(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk("draw", "/new", "/history", "draw", "/history") == 0
    first, second = "out/turn-01-1.png (forced_tag)", "out/turn-02-1.png (forced_tag)"
    assert capsys.readouterr().out.splitlines() == ["0: draw", first, "0: draw", second, "> draw", "0: draw", second]
    turns = transcript(tmp_path / "out")[1:]
    assert [(turn["conversation"], turn["turn"]) for turn in turns] == [(1, 1), (2, 2)]


def test_history_names_the_files_that_were_attached(
    talk: Talk, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk('see @"my dog.png" here', "/history") == 0
    answer, typed, again = capsys.readouterr().out.splitlines()
    assert typed == f'> see @"{photographs / "my dog.png"}" here' and answer == again


def test_commands_are_whole_lines_and_others_are_refused_or_escaped(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk("/help", "", "   ", "/quit now", "//quit", " /help ") == 0
    out, err = capsys.readouterr()
    assert out == f"{HELP}\n0: /quit\n{HELP}\n"
    (complaint,) = complaints(err)
    assert complaint.startswith("anybench: /quit now: no such command; there are /help, /history, /new, /quit")


def test_what_a_model_says_cannot_move_the_cursor_and_keeps_its_lines(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk("say ESC[2JBREAKmore\x9b1m", "nothing", "/history") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[:3] == ["\\x1b[2J", "more\\x9b1m", "(an empty answer)"]
    assert not {"\x1b", "\x9b"} & {*said}
    assert transcript(tmp_path / "out")[1]["outputs"][0]["text"] == "\x1b[2J\nmore\x9b1m"
    assert not {b"\x1b", b"\x9b"} & {*(tmp_path / "out" / "transcript.jsonl").read_bytes()}


def test_a_line_that_is_no_text_is_refused_and_the_next_one_is_read(
    talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk(b"caf\xe9", "café") == 0
    out, err = capsys.readouterr()
    assert out == "0: café\n"
    assert complaints(err) == ["anybench: caf\\udce9: is no text in UTF-8; the conversation is as it was before"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--system", "copy_input"), "system copy_input does not converse; these do: codi2, parrot"),
        (("--system", "parot"), "no system named 'parot'; did you mean parrot?"),
        ((), "system parrot needs --checkpoint PATH_OR_HUB_ID"),
        (("--checkpoint", "absent"), "checkpoint absent: no such file or folder"),
        (("--checkpoint", "broken"), "{here}/broken: is broken"),
        (("--checkpoint", "seeds", "--set", "humour=good"), "--set humour: no such setting"),
        (("--checkpoint", "seeds", "--set", "mood=bad"), "mood=bad: not today"),
        (("--checkpoint", "seeds", "--out", "full"), "full: is there already, and no empty folder"),
        (("--checkpoint", "seeds", "--out", "seeds"), "seeds: is there already, and no empty folder"),
        (("--checkpoint", "seeds", "--out", "seeds/out"), "seeds/out: cannot be written (Not a directory)"),
    ],
)
def test_a_chat_that_cannot_begin_says_why_in_one_line_and_leaves_nothing(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    (tmp_path / "broken").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("")
    assert talk("hello", flags=flags) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"anybench: {said.format(here=tmp_path)}") and len(err.splitlines()) == 1
    assert {file.name for file in tmp_path.rglob("*")} == {"broken", "full", "kept.txt", "seeds"}


def test_without_a_folder_a_chat_is_kept_under_its_time(talk: Talk, tmp_path: Path) -> None:
    assert talk("draw", flags=("--checkpoint", "seeds")) == 0
    (folder,) = (tmp_path / "chat").glob("20*Z")
    assert {file.name for file in folder.iterdir()} == {"transcript.jsonl", "turn-01-1.png"}


def test_an_answer_that_cannot_be_kept_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    kept = Transcript.begin(tmp_path / "out", {})
    (tmp_path / "out" / "turn-01-1.png").write_bytes(b"somebody else's")
    with pytest.raises(UsageError, match=r"turn-01-1.png: cannot be written \(File exists\)"):
        kept.keep(1, (), [MADE["draw"]], 0.0)
    assert (tmp_path / "out" / "turn-01-1.png").read_bytes() == b"somebody else's"


PROGRAM = """
import sys
from chat_toys import PARROT
from systems import SYSTEMS
from runners.cli import main
SYSTEMS["parrot"] = PARROT
sys.exit(main(["chat", "--system", "parrot", "--checkpoint", "seeds", "--out", "out"]))
"""


class Terminal:
    """A chat at a terminal of its own: what is typed there, and all that has been shown."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self._own, inner = pty.openpty()
        path = os.pathsep.join(map(str, (repository, repository / "tests" / "toys")))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=folder, env={**os.environ, "PYTHONPATH": path, "TERM": "dumb"},
            stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
            # Opening it makes it the terminal that Ctrl-C is typed at.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )  # fmt: skip
        os.close(inner)
        os.set_blocking(self._own, False)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def wait_for(self, *texts: str) -> None:
        """Until these are shown, one after the other, after what was waited for before."""
        end = time.monotonic() + SECONDS
        for text in texts:
            while text not in self.shown:
                assert time.monotonic() < end, self.shown
                time.sleep(0.02)
                with contextlib.suppress(BlockingIOError):
                    self.shown += os.read(self._own, 4096).decode()
            self.shown = self.shown.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)


@pytest.fixture
def terminal(tmp_path: Path, repository: Path) -> Iterator[Terminal]:
    (tmp_path / "seeds").write_text("a checkpoint")
    opened = Terminal(repository, tmp_path)
    yield opened
    opened.close()


def test_at_a_terminal_ctrl_c_cancels_a_line_or_an_answer_and_ctrl_d_ends(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for("> ")
    terminal.type("hello\n")
    terminal.wait_for("0: hello", "> ")
    assert len(transcript(tmp_path / "out")) == 2
    terminal.type("never to be sen\x03")
    terminal.wait_for("/quit or Ctrl-D ends the chat", "> ")
    terminal.type("wait\n")
    terminal.wait_for("waiting")
    terminal.type("\x03")
    terminal.wait_for("cancelled", "> ")
    terminal.type("again\n")
    terminal.wait_for("0: hello | again", "> ")
    terminal.type("\x04")
    assert terminal.process.wait(SECONDS) == 0
    assert len(transcript(tmp_path / "out")) == 3


@pytest.fixture(scope="module")
def codi2_tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("codi2") / "tiny"
    codi2(folder, 0)
    yield folder
    torch.set_num_threads(threads)


def test_with_codi2_what_fails_or_is_cancelled_changes_no_later_answer_and_what_was_said_does(
    talk: Talk, photographs: Path, codi2_tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_image = media.encode_image

    def interrupted(*given: Any) -> bytes:
        """The last thing that is done for a picture, once: Ctrl-C is hit meanwhile."""
        monkeypatch.setattr(model, "encode_image", encode_image)
        os.kill(os.getpid(), signal.SIGINT)
        return encode_image(*given)

    def answers(out: str, *lines: str) -> list[list[dict[str, Any]]]:
        settings = ("--set", "steps=1", "--set", "max_new_tokens=8")
        flags = ("--system", "codi2", "--checkpoint", str(codi2_tiny), *settings, "--out", out)
        assert talk(*lines, flags=flags) == 0
        return [turn["outputs"] for turn in transcript(photographs / out)[1:]]

    first, then = "a dog @a.png in snow", "and now in rain"
    undisturbed = answers("undisturbed", first, then)
    monkeypatch.setattr(model, "encode_image", interrupted)
    capsys.readouterr()
    disturbed = answers("disturbed", "a cat", first, "far too long " * 2000, then)
    _, cancelled, outgrown = capsys.readouterr().err.splitlines()
    assert cancelled == "anybench: cancelled; the conversation is as it was before"
    assert outgrown.startswith("anybench: case chat")
    assert disturbed == undisturbed
    assert "image" in {one["modality"] for one in undisturbed[1]}
    assert answers("alone", then) != undisturbed[1:]
