"""`anybench chat`: a conversation with a system over a plain terminal or a pipe; every answer is kept in files.

A line is a message, or a command where it begins with /. A file is attached by naming it where it belongs in the
message, so that words and media stand in the order in which the system reads them. Answers go to stdout, all else to
stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.devices import free_device_memory, pick_device, ran_out_of_memory
from harness.errors import UsageError, one_line, printable, shown, warn
from harness.generation import convert
from harness.identity import digest_bytes, digest_code
from harness.media import decode, read_bytes, sniff
from harness.names import find, load
from harness.nouns import Conversational, Media, Output
from harness.provenance import provenance
from harness.redaction import hide, redact_text, redact_values
from harness.store import Store
from harness.weights import ask_nobody, checkpoint_path
from runners import options
from runners.preparation import Request, find_checkpoint
from runners.transcript import Answered, Exchange, Transcript, require_new
from systems import SYSTEMS

HELP = """A line is a message. Name files in it where they belong, each with an @ before it:
  put @beach.png beside @"my dog.jpg" and make it rain
Pictures, sounds and videos can be attached. A path ends at the next space, or is put in quotes; a word that begins
with @@ begins with a plain @, and a line that begins with // with a plain /.
/history  what was said in this conversation
/new      begin a new conversation, which knows nothing of this one
/help     this
/quit     end, as Ctrl-D does; Ctrl-C cancels the answer that is under way"""
QUIT = "/quit"
PROMPT = "> "

# A word that begins with @: an @ of its own, a path in quotes, or a path up to the next space.
ATTACHED = re.compile(r'(?<!\S)@(?:(?P<at>@)|"(?P<quoted>[^"]*)"|(?P<plain>\S*))')


def chat(asked: argparse.Namespace) -> int:
    """`anybench chat`."""
    begun = datetime.now(UTC)
    folder = Path(asked.out or f"chat/{begun:%Y-%m-%dT%H-%M-%SZ}")
    require_new(folder)
    system, what = _loaded(asked)
    transcript = Transcript.begin(folder, {"started": begun.isoformat(timespec="seconds"), **what})
    _never_fail_at_a_letter()
    print(f"{asked.system}: answers are kept in {shown(str(folder))}; /help says what to type", file=sys.stderr)
    with _at_ctrl_c(signal.SIG_IGN):
        Chat(system, asked.seed, transcript).go_on_to_the_end()
    return 0


def _add_chat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", default="codi2", metavar="NAME", help="one that converses (default: codi2)")
    parser.add_argument(
        "--checkpoint", default="", metavar="PATH_OR_HUB_ID", help="org/name, org/name@revision, or a path"
    )
    options.add_settings(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of each conversation (default: 0)")
    parser.add_argument(
        "--out", default="", metavar="DIR",
        help="a new folder for the answers and the transcript (default: ./chat/DATE-AND-TIME)",
    )  # fmt: skip
    parser.add_argument("--offline", action="store_true", help="do not ask the hub for what is not in its cache")
    options.add_config(parser)


COMMANDS = (("chat", "talk to a checkpoint: type, attach files, get answers", _add_chat, chat),)


def _loaded(asked: argparse.Namespace) -> tuple[Conversational, dict[str, Any]]:
    """The system, and all that can change what it says; UsageError for what cannot be loaded."""
    settings = dict(asked.settings)
    hide(settings)
    if asked.offline:
        ask_nobody()
    worker = find(asked.system, SYSTEMS, "system")
    build = _conversational(asked.system)
    # A request names a store, and none is used here.
    request = Request("", asked.system, Store.at("."), checkpoint=asked.checkpoint, offline=asked.offline)
    checkpoint, digest = find_checkpoint(request, worker)
    path = checkpoint_path(checkpoint, asked.offline) if checkpoint else ""
    if worker.check:
        load(worker.check)(path, (), 1)
    converted = convert(build, settings)
    device = pick_device(worker)
    return build(path, device, **converted), {
        "system": asked.system,
        "system_version": worker.version,
        "code": digest_code(worker.build),
        "checkpoint": redact_text(checkpoint),
        "digest": digest,
        "settings": redact_values(dict(sorted(settings.items()))),
        "seed": asked.seed,
        "device": device,
        "provenance": provenance(sys.argv),
    }


def _conversational(name: str) -> Callable[..., Conversational]:
    """The class of a system that converses; UsageError that names those which do."""
    build: Callable[..., Conversational] = load(SYSTEMS[name].build)
    if not hasattr(build, "converse"):
        able = [one for one, worker in SYSTEMS.items() if hasattr(load(worker.build), "converse")]
        raise UsageError(f"system {name} does not converse; these do: {', '.join(able)}")
    return build


def _never_fail_at_a_letter() -> None:
    """Have bytes that are no text come through to be refused, and letters that the terminal lacks be spelled."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


class Chat:
    """Conversations one after the other, all of one seed.

    A turn that fails or is cancelled is no part of the conversation. One that was answered is kept in files first, then
    shown.
    """

    def __init__(self, system: Conversational, seed: int, transcript: Transcript) -> None:
        self._system, self._seed, self._transcript = system, seed, transcript
        self._reply = system.converse(seed)
        self._conversation, self._history = 1, list[Exchange]()

    def go_on_to_the_end(self) -> None:
        """Read lines and answer them until the input ends or says so; UsageError where nothing can be kept any more."""
        commands = {"/help": self._help, "/history": self._show_history, "/new": self._begin_anew}
        while (line := _next_line()) is not None and line != QUIT:
            if not line.startswith("/") or line.startswith("//"):
                self._take_turn(line.removeprefix("/") if line.startswith("//") else line)
            elif line in commands:
                commands[line]()
            else:
                warn(f"{line}: no such command; there are {', '.join((*commands, QUIT))}, and // is a plain /")

    def _take_turn(self, line: str) -> None:
        answered = self._answer(line) if line else None
        if answered is None:
            return
        exchange = self._transcript.keep(self._conversation, *answered)
        self._history.append(exchange)
        _show(exchange.answer)

    def _answer(self, line: str) -> tuple[tuple[Media, ...], list[Output], float] | None:
        """What was asked, what was answered, and in how many seconds; None, after one line, where it was not."""
        out_of_memory = False
        try:
            with _at_ctrl_c(signal.default_int_handler):
                inputs = read_message(line)
                start = time.perf_counter()
                outputs = self._reply(inputs)
            return inputs, outputs, time.perf_counter() - start
        except KeyboardInterrupt:
            why = "cancelled"
        except UsageError as error:
            why = str(error)
        except Exception as error:
            out_of_memory = ran_out_of_memory(error)
            if not out_of_memory:
                raise
            why = f"the device's memory ran out ({one_line(error)})"
        if out_of_memory:  # what the error held is given up by now
            free_device_memory()
        warn(f"{why}; the conversation is as it was before")
        return None

    def _begin_anew(self) -> None:
        self._reply = self._system.converse(self._seed)
        self._conversation, self._history = self._conversation + 1, []

    def _show_history(self) -> None:
        for exchange in self._history:
            print(f"{PROMPT}{printable(' '.join(map(_as_typed, exchange.inputs)))}")
            _show(exchange.answer)

    def _help(self) -> None:
        print(HELP, flush=True)


def read_message(line: str) -> tuple[Media, ...]:
    """The words and the attached files of a line, in their order.

    Raises UsageError, in one line, for what is no text, and for a file that is absent, damaged or of no known format.
    """
    said: list[Media] = []
    words, end = "", 0
    for found in ATTACHED.finditer(line):
        words += line[end : found.start()]
        end = found.end()
        if found["at"]:
            words += "@"
        else:
            said += [*_text(words), _attached(found[0], found["quoted"] or found["plain"] or "")]
            words = ""
    return (*said, *_text(words + line[end:]))


def _text(words: str) -> Iterator[Media]:
    """A text, if there is any."""
    words = words.strip()
    try:
        if words:
            yield Media("text", text=words, digest=digest_bytes(words.encode()))
    except UnicodeEncodeError as error:
        raise UsageError(f"{words}: is no text in UTF-8") from error


def _attached(word: str, path: str) -> Media:
    """A file that was read whole and decoded once, by its absolute path."""
    uri = os.path.abspath(os.path.expanduser(path))
    if not path or not os.path.isfile(uri):
        raise UsageError(f'{word}: no such file; @"..." is for a path with spaces, and @@ for a plain @')
    data = read_bytes(uri)
    decode(data, uri)
    return Media(sniff(data)[0], uri=uri, digest=digest_bytes(data))


def _as_typed(one: Media) -> str:
    return one.text if one.modality == "text" else f'@"{one.uri}"'


def _show(answer: Sequence[Answered]) -> None:
    """Print what was answered: texts line by line, media by their paths, flags after them."""
    if not answer:
        print("(an empty answer)")
    for one in answer:
        said = [*map(printable, one.text.splitlines())] if one.modality == "text" else [shown(one.path)]
        flags = f" ({', '.join(one.flags)})" if one.flags else ""
        print("\n".join(said) + flags)
    sys.stdout.flush()


def _next_line() -> str | None:
    """The next line without the spaces around it, None at the end. Ctrl-C at a terminal takes back what was typed."""
    typed = sys.stdin.isatty() and sys.stdout.isatty()
    if typed:
        with contextlib.suppress(ImportError):  # not every Python has it: `input` then edits as the terminal does
            import readline  # noqa: F401
    while True:
        try:
            with _at_ctrl_c(signal.default_int_handler):
                return input(PROMPT if typed else "").strip()
        except EOFError:
            if typed:
                print()
            return None
        except KeyboardInterrupt:
            if not typed:
                raise
            print(f"\n{QUIT} or Ctrl-D ends the chat", file=sys.stderr)


@contextlib.contextmanager
def _at_ctrl_c(handler: Any) -> Iterator[None]:
    """Ctrl-C interrupts while a line is awaited or answered, and nowhere else: what was answered is kept, and shown."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
