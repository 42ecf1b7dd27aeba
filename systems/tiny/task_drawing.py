"""Tasks drawn at random, of every kind that is asked of a tiny CoDi-2.

Splits: what is shown comes from `shown`, what is asked for from `asked`. While training both are what training knows;
when a split is measured `asked` is what it alone may show, and `shown` that and what training knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import TypeVar

from harness.errors import UsageError
from systems.tiny.tasks import A_PICTURE, A_SOUND, Known, Piece, Round, Task, framed, joined
from systems.tiny.words import (
    ATTRIBUTES,
    COMBINATION,
    COMPOSE,
    DESCRIBE,
    GREETINGS,
    HERE_IS,
    LIKE,
    MAKE,
    NOTHING,
    SAY,
    SOUND,
    SOUND_EDITS,
    SUBJECT,
    SUBJECT_LIKE,
    SUBJECT_LIKE_WHERE,
    SUBJECT_WHERE,
    THIS_IS,
    UNKNOWN,
    WITH,
    Attribute,
    Item,
    Lexicon,
    Scene,
    Sound,
    article,
    edit_phrasings,
    modality_of,
)

# How often a question stands by itself, without the words of its template.
BARE = 0.25
# ... in a later round too, or where a conversation begins with a picture.
LATER = 0.6
MOST_ROUNDS = 4
MOST_TRIES = 100_000

One = TypeVar("One")


class Tasks:
    """Draws tasks of a world; the same `random` draws the same ones."""

    def __init__(self, lexicon: Lexicon, shown: Known, asked: Known, random: Random) -> None:
        self.lexicon = lexicon
        self._shown, self._asked = shown, asked
        self._random = random
        self._seen = sorted(shown.combinations)
        self._wanted = sorted(asked.combinations)
        self._words = sorted({word for text in lexicon.words() for word in text.split()})

    def draw(self, name: str) -> Task:
        """A task of that name, one of NAMES; UsageError where the world shows too little for one."""
        for _ in range(MOST_TRIES):
            if rounds := _DRAWN[name](self):
                return Task(name, rounds)
        raise UsageError(f"task {name}: none was found that the world's sets allow; build a world with more pictures")

    # Each of these gives None where what it drew may not be asked for.

    def make(self) -> tuple[Round, ...]:
        """Words to a picture."""
        scene = self._wanted_scene()
        return (self._made((self._say(MAKE, caption=self.lexicon.caption(scene)),), scene),)

    def sound(self) -> tuple[Round, ...] | None:
        """Words to a sound."""
        sound = self._wanted_sound()
        if sound is None:
            return None
        return (self._made((self._say(SOUND, caption=self.lexicon.caption(sound)),), sound),)

    def describe(self) -> tuple[Round, ...]:
        """A picture to words."""
        return (self._described(self._wanted_scene()),)

    def listen(self) -> tuple[Round, ...] | None:
        """A sound to words."""
        sound = self._wanted_sound()
        return None if sound is None else (self._described(sound),)

    def edit(self) -> tuple[Round, ...] | None:
        """A picture and what to change in it."""
        before = self._scene()
        after, instruction = self._edited(before)
        if not self._may_ask(after):
            return None
        return (self._made(self._framed("editing", [[before], [instruction]]), after),)

    def subject(self) -> tuple[Round, ...] | None:
        """Pictures of a subject, and where it is to be or what it is to be like."""
        scene = self._scene()
        examples = [scene, *(self._sharing(scene, SUBJECT) for _ in range(self._random.randrange(4)))]
        after, instruction = self._drawn_again(scene)
        if not (self._may_ask(after) and all(map(self._may_show, examples))):
            return None
        return (self._made(self._framed("subject-driven", [examples, [instruction]]), after),)

    def compose(self) -> tuple[Round, ...] | None:
        """A picture with an attribute of another, and perhaps one more of a third."""
        first = after = self._scene()
        inputs: list[Piece] = [first]
        for attribute in self._random.sample(ATTRIBUTES, self._one((1, 1, 2))):
            other = self._scene()
            if other.value(attribute) == first.value(attribute):
                return None
            after = replace(after, **{attribute: other.value(attribute)})
            inputs += [self._one(COMPOSE[attribute]), other]
        if not self._may_ask(after):
            return None
        return (self._made(self._framed("composition", [inputs]), after),)

    def exemplar(self) -> tuple[Round, ...] | None:
        """A change that is shown, to be made elsewhere."""
        attribute = self._one(ATTRIBUTES)
        before, third = self._scene(), self._scene()
        if self._random.random() < 0.5:
            third = replace(third, **{attribute: before.value(attribute)})
        value = self._other(attribute, before.value(attribute))
        after, fourth = replace(before, **{attribute: value}), replace(third, **{attribute: value})
        if third == fourth or not (self._may_show(after) and self._may_show(third) and self._may_ask(fourth)):
            return None
        return (self._made(self._framed("exemplar", [[before], [after], [third], []]), fourth),)

    def exemplar_sound(self) -> tuple[Round, ...] | None:
        """The same of sounds: an event is added, dropped or replaced."""
        new, old, first, second = self._random.sample(self.lexicon.events, 4)
        kind = self._one(tuple(SOUND_EDITS))
        gone = set() if kind == "add" else {old}
        come = set() if kind == "drop" else {new}
        before, after, third, fourth = (
            Sound(frozenset({kept} | added)) for kept in (first, second) for added in (gone, come)
        )
        if not (all(map(self._may_show, (before, after, third))) and self._may_ask_edit(third, fourth)):
            return None
        return (self._made(self._framed("exemplar", [[before], [after], [third], []]), fourth),)

    def concept(self) -> tuple[Round, ...] | None:
        """Pictures that share one attribute and no other, or one subject; the rest is said."""
        after = self._scene()
        shared = self._one((*((name,) for name in COMBINATION), SUBJECT))
        examples = [self._sharing(after, shared) for _ in range(self._random.randint(2, 3))]
        others = [name for name in ATTRIBUTES if name not in shared]
        if any(one.value(name) == two.value(name) for one, two in combinations(examples, 2) for name in others):
            return None
        if not (self._may_ask(after) and all(map(self._may_show, examples))):
            return None
        text = self._rest(after, shared) + self._with(after)
        return (self._made(framed("concept", [examples, [text.strip()]]), after),)

    def converse(self) -> tuple[Round, ...] | None:
        """A picture that is made or given, and changed round after round."""
        scene = self._scene()
        given = self._random.random() < 0.3
        rounds = [] if given else [self._made((self._say(MAKE, caption=self.lexicon.caption(scene)),), scene)]
        for _ in range(self._random.randint(2, MOST_ROUNDS) - len(rounds)):
            after, instruction = self._edited(scene)
            if not self._may_show(after):
                return None
            shown: list[Piece] = [scene] if given and not rounds else []
            template = self._one(("editing", "subject-driven")) if shown else "editing"
            rounds.append(self._made(self._framed(template, [shown, [instruction]], LATER), after))
            scene = after
        return tuple(rounds) if self._may_ask(scene) else None

    def converse_sound(self) -> tuple[Round, ...] | None:
        """A sound that is made, a second one that is added, and the first dropped or replaced."""
        first, second, third = self._random.sample(self.lexicon.events, 3)
        kind = self._one(("drop", "replace"))
        course = [{first}, {first, second}, {second} if kind == "drop" else {second, third}]
        sounds = [Sound(frozenset(events)) for events in course]
        if not (self._may_show(sounds[1]) and self._may_ask_edit(sounds[1], sounds[2])):
            return None
        texts = [
            self._say(SOUND, caption=self.lexicon.caption(sounds[0])),
            self._edited_sound("add", new=second),
            self._edited_sound(kind, new=third, old=first),
        ]
        return tuple(self._made((text,), sound) for text, sound in zip(texts, sounds, strict=True))

    def add(self) -> tuple[Round, ...] | None:
        """A sound and what is to be heard too."""
        return self._sound_edit("add")

    def drop(self) -> tuple[Round, ...] | None:
        """A sound and what is not to be heard any more."""
        return self._sound_edit("drop")

    def replace(self) -> tuple[Round, ...] | None:
        """A sound and what is to be heard instead of what."""
        return self._sound_edit("replace")

    def say(self) -> tuple[Round, ...]:
        """Words to be repeated, of the world or of letters."""
        count = self._random.randint(1, 12)
        words = " ".join(
            self._one(self._words) if self._random.random() < 0.7 else self._letters() for _ in range(count)
        )
        return (Round((self._say(SAY, words=words),), words),)

    def chat(self) -> tuple[Round, ...]:
        """Greetings, and what is not known."""
        asked = self._one(tuple(GREETINGS))
        if self._random.random() < 0.5:
            return (Round((asked,), GREETINGS[asked]),)
        return (Round((" ".join(self._letters() for _ in range(self._random.randint(1, 5))),), UNKNOWN),)

    def _made(self, question: tuple[Piece, ...], item: Item) -> Round:
        return Round(question, HERE_IS.format(caption=self.lexicon.caption(item)), item)

    def _described(self, item: Item) -> Round:
        asked = self._one(DESCRIBE[modality_of(item)])
        question: tuple[Piece, ...] = (item, asked) if self._random.random() < 0.8 else (asked, item)
        return Round(question, THIS_IS.format(caption=self.lexicon.caption(item)))

    def _framed(
        self, template: str, taken: Sequence[Sequence[Piece]], bare: float = BARE, wanted: str = A_PICTURE
    ) -> tuple[Piece, ...]:
        """With the template's words, or without."""
        if self._random.random() < bare:
            return joined(piece for inputs in taken for piece in inputs)
        return framed(template, taken, wanted)

    def _edited(self, before: Scene) -> tuple[Scene, str]:
        """A change of one attribute, now and then of two, and the words for it."""
        first, second = self._random.sample(ATTRIBUTES, 2)
        after, instruction = self._edited_in(before, first)
        if self._random.random() < 0.15:
            after, more = self._edited_in(after, second)
            instruction += f" and {more}"
        return after, instruction

    def _edited_in(self, before: Scene, attribute: Attribute) -> tuple[Scene, str]:
        after = replace(before, **{attribute: self._other(attribute, before.value(attribute))})
        return after, self._said(edit_phrasings(before, after, attribute), before, after)

    def _drawn_again(self, scene: Scene) -> tuple[Scene, str]:
        """The subject somewhere else, perhaps with another colour or pattern; or that alone, in the scene as it was."""
        after = self._sharing(scene, SUBJECT)
        if self._random.random() < 0.6:
            return after, self._said(SUBJECT_WHERE, scene, after) + self._with(after)
        attribute = self._one(LIKE)
        new = {attribute: self._other(attribute, scene.value(attribute))}
        if self._random.random() < 0.5:
            after = replace(scene, **new)
            return after, self._said(SUBJECT_LIKE[attribute], scene, after)
        after = replace(after, **new)
        return after, self._said(SUBJECT_LIKE_WHERE[attribute], scene, after) + self._with(after)

    def _rest(self, scene: Scene, shared: Sequence[str]) -> str:
        """Words for a scene without what is shared: "a plain fish in the snow", "a red striped one at night"."""
        words = [scene.value(name) for name in LIKE if name not in shared]
        words.append("one" if "shape" in shared else scene.shape)
        where = "" if "background" in shared else f" {self.lexicon.where[scene.background]}"
        return f"{article(words[0])} {' '.join(words)}{where}"

    def _with(self, scene: Scene) -> str:
        return "" if scene.extra == NOTHING else self._say(WITH, extra=scene.extra)

    def _sharing(self, scene: Scene, shared: Sequence[str]) -> Scene:
        """Any scene that has this of the other."""
        values = [*(self._one(self.lexicon.attributes[name]) for name in COMBINATION), self._extra()]
        return replace(Scene(*values), **{name: getattr(scene, name) for name in shared})

    def _sound_edit(self, kind: str) -> tuple[Round, ...] | None:
        new, old, *others = self._random.sample(self.lexicon.events, 4)
        kept = frozenset(others[: self._random.choice((0, 1, 1, 1, 2))])
        before = kept if kind == "add" else kept | {old}
        after = kept if kind == "drop" else kept | {new}
        if not before or not (self._may_show(Sound(before)) and self._may_ask_edit(Sound(before), Sound(after))):
            return None
        text = self._edited_sound(kind, new, old)
        second = [Sound(frozenset({old if kind == "drop" else new}))] if self._random.random() < 0.2 else []
        question = self._framed(kind, [[Sound(before)], second, [text]], wanted=A_SOUND)
        return (self._made(question, Sound(after)),)

    def _edited_sound(self, kind: str, new: str, old: str = "") -> str:
        named = {"old": self.lexicon.heard[old], "the_old": self.lexicon.named(old)} if old else {}
        return self._say(SOUND_EDITS[kind], new=self.lexicon.heard[new], **named)

    def _may_show(self, item: Item) -> bool:
        if isinstance(item, Sound):
            return item.pairs <= self._shown.pairs
        return item.combination in self._shown.combinations

    def _may_ask(self, item: Item) -> bool:
        if isinstance(item, Sound):
            return self._may_show(item) and (bool(item.pairs & self._asked.pairs) or self._trains)
        return item.combination in self._asked.combinations

    def _may_ask_edit(self, before: Sound, after: Sound) -> bool:
        """A single event is in every split, so what is dropped decides too."""
        return self._may_show(after) and (self._may_ask(before) or self._may_ask(after))

    @property
    def _trains(self) -> bool:
        return self._asked is self._shown

    def _scene(self) -> Scene:
        return Scene(*self._one(self._seen), self._extra())

    def _wanted_scene(self) -> Scene:
        return Scene(*self._one(self._wanted), self._extra())

    def _wanted_sound(self) -> Sound | None:
        """Of one to three events; None where it may not be asked for."""
        sound = Sound(frozenset(self._random.sample(self.lexicon.events, self._one((1, 2, 2, 2, 3)))))
        return sound if self._may_ask(sound) else None

    def _extra(self) -> str:
        return NOTHING if self._random.random() < 0.5 else self._one(self.lexicon.attributes["extra"])

    def _other(self, attribute: Attribute, value: str) -> str:
        return self._one([other for other in self.lexicon.attributes[attribute] if other != value])

    def _letters(self) -> str:
        return "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=self._random.randint(1, 6)))

    def _said(self, phrasings: Sequence[str], before: Scene, after: Scene) -> str:
        old = {f"old_{name}": before.value(name) for name in ATTRIBUTES}
        return self._say(phrasings, **self.lexicon.fields(after), **old)

    def _say(self, phrasings: Sequence[str], **words: str) -> str:
        return self._one(phrasings).format(**words)

    def _one(self, values: Sequence[One]) -> One:
        return values[self._random.randrange(len(values))]


_DRAWN: Mapping[str, Callable[[Tasks], tuple[Round, ...] | None]] = {
    "make": Tasks.make,
    "describe": Tasks.describe,
    "edit": Tasks.edit,
    "subject": Tasks.subject,
    "compose": Tasks.compose,
    "exemplar": Tasks.exemplar,
    "concept": Tasks.concept,
    "converse": Tasks.converse,
    "sound": Tasks.sound,
    "listen": Tasks.listen,
    "add": Tasks.add,
    "drop": Tasks.drop,
    "replace": Tasks.replace,
    "exemplar_sound": Tasks.exemplar_sound,
    "converse_sound": Tasks.converse_sound,
    "say": Tasks.say,
    "chat": Tasks.chat,
}
NAMES = tuple(_DRAWN)
