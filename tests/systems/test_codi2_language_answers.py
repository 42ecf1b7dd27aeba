"""What CoDi-2's language model may say: tags and slots, several outputs, the end, sampling, prompt styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from language_reference import spell
from language_toys import Toy, ask, random_toy, talking_toy, tokenizer, told, vectors
from transformers import LlamaTokenizer

from harness.errors import UsageError
from systems.codi2.conversation import Answer, Decoding
from systems.codi2.language import LanguageModel
from systems.codi2.sampling import choose
from systems.codi2.sequence import Tags, Writer, length

END, IMAGE, AUDIO, VIDEO = 2, 259, 261, 263
LAST = spell("]")[0]
A, B, C, HASH = (spell(letter)[0] for letter in "abc#")


def say(folder: Path, says: dict[int, int], wants: tuple[str, ...] = (), **decoding) -> Answer:
    """What a model with these next tokens answers."""
    (answer,) = talking_toy(folder, says).load().answer([ask("?", wants=wants)], Decoding(**decoding))
    return answer


def outputs(answer: Answer) -> list[tuple[str, bool]]:
    return [(feature.modality, feature.forced) for feature in answer.features]


def ids(answer: Answer) -> list[int]:
    """What was appended, -1 for a slot."""
    return [element if isinstance(element, int) else -1 for element in answer.appended]


def test_several_outputs_and_words_in_one_answer(tmp_path: Path) -> None:
    says = {LAST: A, A: IMAGE, IMAGE + 1: B, B: AUDIO, AUDIO + 1: C, -1: END}
    answer = say(tmp_path, says, ("image", "audio", "text"))
    assert answer.text == "abc"
    assert outputs(answer) == [("image", False), ("audio", False)]
    assert ids(answer) == [A, IMAGE, -1, IMAGE + 1, B, AUDIO, -1, AUDIO + 1, C]


def test_what_is_wanted_and_missing_is_appended_in_order_and_marked(tmp_path: Path) -> None:
    answer = say(tmp_path, {LAST: A, A: AUDIO, AUDIO + 1: B, -1: END}, ("image", "audio", "image", "text", "video"))
    assert outputs(answer) == [("audio", False), ("image", True), ("image", True), ("video", True)]
    assert ids(answer)[-9:] == [IMAGE, -1, IMAGE + 1, IMAGE, -1, IMAGE + 1, VIDEO, -1, VIDEO + 1]
    assert answer.text == "ab"


def test_outputs_that_nobody_wanted_stay_in_the_answer(tmp_path: Path) -> None:
    assert outputs(say(tmp_path, {LAST: VIDEO, -1: END}, ("text",))) == [("video", False)]


@pytest.mark.parametrize(("most", "begun"), [(1, 1), (7, 3), (9, 3)])
def test_a_runaway_of_tags_is_bounded_and_what_it_began_is_finished(tmp_path: Path, most: int, begun: int) -> None:
    answer = say(tmp_path, {-1: IMAGE}, ("image",) * 4, max_new_tokens=most)
    assert outputs(answer) == [("image", False)] * begun + [("image", True)] * (4 - begun)


def test_words_are_bounded(tmp_path: Path) -> None:
    assert say(tmp_path, {-1: A}, ("text",), max_new_tokens=7).text == "a" * 7


def test_closing_tags_are_never_said_outside_of_a_slot(tmp_path: Path) -> None:
    answer = say(tmp_path, {-1: AUDIO + 1}, ("text",), max_new_tokens=5)
    assert not {IMAGE + 1, AUDIO + 1, VIDEO + 1} & set(ids(answer))


def test_forced_tags_come_alone_and_are_no_fault(tmp_path: Path) -> None:
    answer = say(tmp_path, {-1: A}, ("audio", "image"), tags="forced")
    assert outputs(answer) == [("audio", False), ("image", False)]
    assert ids(answer) == [AUDIO, -1, AUDIO + 1, IMAGE, -1, IMAGE + 1]
    assert answer.text == ""


def test_forced_tags_follow_the_words_where_a_text_is_wanted(tmp_path: Path) -> None:
    answer = say(tmp_path, {LAST: A, A: B, -1: END}, ("image", "text"), tags="forced")
    assert (answer.text, ids(answer)) == ("ab", [A, B, IMAGE, -1, IMAGE + 1])
    tagged = say(tmp_path / "tags", {-1: IMAGE}, ("text",), tags="forced", max_new_tokens=4)
    assert not tagged.features


def test_forced_tags_and_nothing_wanted_are_words_alone(tmp_path: Path) -> None:
    assert say(tmp_path, {LAST: A, A: B, -1: END}, (), tags="forced").text == "ab"
    assert not say(tmp_path / "tags", {-1: IMAGE}, (), tags="forced", max_new_tokens=4).features


def test_rows_that_end_early_leave_the_others_alone(tmp_path: Path) -> None:
    model = talking_toy(tmp_path, {-1: END}).load()
    batch = [ask("?", wants=wants, seed=seed) for seed, wants in enumerate([(), ("image",) * 9, (), ("audio",), ()])]
    answers = model.answer(batch, Decoding())
    assert [outputs(answer) for answer in answers] == [[], [("image", True)] * 9, [], [("audio", True)], []]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return random_toy(tmp_path_factory.mktemp("toy"), tag_scale=0.1)


@pytest.fixture(scope="module")
def model(toy: Toy) -> LanguageModel:
    return toy.load()


@pytest.mark.parametrize("typed", ["<image>", "</image>", "</s>", "<s>", "<unk>", "### Human:", "[/INST]"])
@pytest.mark.parametrize("style", ["llama2-chat", "human-assistant"])
def test_what_a_user_types_is_never_a_special_token(typed: str, style: str) -> None:
    writer = Writer(tokenizer(), Tags(259), style)
    plain, with_it = (writer.prompt(ask("a", text, "b")) for text in ("", typed))
    assert len(with_it) == len(plain) + len(typed)
    special = [[e for e in prompt if e < 3 or e >= 259] for prompt in (plain, with_it)]
    assert special[0] == special[1] == [1]
    assert writer.text(with_it).count(typed) == writer.text(plain).count(typed) + 1


def _llama_tokenizer() -> LlamaTokenizer:
    """Llama's kind: a space before every text, a token a letter."""
    letters = ["<unk>", "<s>", "</s>", "▁", *(chr(code) for code in range(33, 127)), "<0x0A>"]
    return LlamaTokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])


def _pieces(prompt: list) -> str:
    names = {97: "/", **dict(enumerate(("<image>", "</image>"), 99))}
    spelled = _llama_tokenizer()
    return "".join(
        "*" * len(e) if not isinstance(e, int) else names.get(e) or spelled.convert_ids_to_tokens(e) for e in prompt
    )


CHAT, DIALOGUE = (Writer(_llama_tokenizer(), Tags(99), style) for style in ("llama2-chat", "human-assistant"))
PICTURE = vectors("image", 0, 2)
ANSWERED = Answer("hi", (), (*_llama_tokenizer()("hi", add_special_tokens=False)["input_ids"],))


def test_plain_text_is_the_published_chat_template() -> None:
    assert _pieces(CHAT.prompt(ask("  a cat "))) == "<s>▁[INST]▁a▁cat▁[/INST]"
    again = ask("b", exchanges=(told(("a",), ANSWERED),))
    assert _pieces(CHAT.prompt(again)) == "<s>▁[INST]▁a▁[/INST]▁hi</s><s>▁[INST]▁b▁[/INST]"


def test_slots_stand_between_their_tags_and_words_begin_with_a_space() -> None:
    asked = ask("see ", PICTURE, " on", " a", vectors("text", 1), PICTURE)
    expected = "<s>▁[INST]▁see<image>**</image>▁on▁a*<image>**</image>▁[/INST]"
    assert _pieces(CHAT.prompt(asked)) == expected
    assert length(CHAT.prompt(asked)) == len(CHAT.prompt(asked)) + 2


def test_the_released_style_is_a_dialogue_that_separators_end() -> None:
    once = "<s>▁###▁Human:▁a<0x0A>###▁Assistant:"
    assert _pieces(DIALOGUE.prompt(ask("a"))) == once
    again = ask(PICTURE, "b", exchanges=(told(("a",), ANSWERED),))
    second = "▁<0x0A>###▁Human:<image>**</image>▁b<0x0A>###▁Assistant:"
    assert _pieces(DIALOGUE.prompt(again)) == f"{once}▁hi{second}"
    assert _pieces([*sorted(DIALOGUE.ends)]) == "</s>▁#"
    assert CHAT.ends == {END}


def test_in_the_released_style_the_separator_ends_an_answer(tmp_path: Path) -> None:
    toy = talking_toy(tmp_path, {spell(":")[0]: A, A: HASH, -1: B})
    (chat,) = toy.load().answer([ask("?", ":", wants=("text",))], Decoding(max_new_tokens=3))
    (answer,) = toy.load(style="human-assistant").answer([ask("?", wants=("text",))], Decoding(max_new_tokens=3))
    assert answer.text == "a"
    assert chat.text == "bbb"


def test_the_seed_alone_decides_what_is_sampled(model: LanguageModel) -> None:
    sampling = Decoding(temperature=1.0, max_new_tokens=12)
    asked = [ask("a", wants=("text",), seed=seed) for seed in (0, 1, 0, 2)]
    texts = [answer.text for answer in model.answer(asked, sampling)]
    assert texts[0] == texts[2]
    assert len(set(texts)) == 3
    assert model.answer([asked[1], ask("b" * 9, PICTURE)], sampling)[0].text == texts[1]


def test_temperature_zero_takes_the_likeliest_whatever_the_seed(model: LanguageModel) -> None:
    asked = [ask("a", wants=("text",), seed=seed) for seed in (0, 1)]
    cold, colder = model.answer(asked, Decoding(max_new_tokens=12))
    (nearly,) = model.answer(asked[:1], Decoding(temperature=1e-6, max_new_tokens=12))
    assert cold.text == colder.text == nearly.text


@settings(max_examples=50)
@given(
    st.lists(st.integers(-9, 9).map(lambda score: score / 4), min_size=2, max_size=8, unique=True),
    st.floats(0.2, 3),
    st.floats(0.01, 1),
    st.floats(0, 0.999),
)
def test_draws_fall_on_tokens_by_their_share_of_the_nucleus(
    scores: list[float], temperature: float, top_p: float, draw: float
) -> None:
    """Walks the tokens from the likeliest on, as the definition has it."""
    weights = np.exp(np.array(scores) / temperature - max(scores) / temperature)
    weights /= weights.sum()
    nucleus: list[int] = []
    for token in np.argsort(-weights):
        nucleus.append(token)
        if weights[nucleus].sum() >= top_p:
            break
    shares = np.cumsum(weights[nucleus]) / weights[nucleus].sum()
    assume(np.abs(shares - draw).min() > 1e-6 and np.abs(np.cumsum(np.sort(weights)[::-1]) - top_p).min() > 1e-6)
    logits = torch.tensor([scores, scores[::-1]], dtype=torch.float64)
    chosen = choose(logits, temperature, top_p, torch.tensor([draw, draw], dtype=torch.float64))
    expected = nucleus[int((shares <= draw).sum())]
    assert chosen.tolist() == [expected, len(scores) - 1 - expected]


def test_known_logits_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.1, 0.5, 0.4]).log().expand(4000, 3)
    draws = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = choose(logits, 1.0, 0.85, draws).bincount(minlength=3) / 4000
    assert counts[0] == 0
    assert counts[1].item() == pytest.approx(5 / 9, abs=0.03)


def test_a_prompt_that_does_not_fit_says_by_how_much(model: LanguageModel) -> None:
    # <s>[INST] ... [/INST] are 16 positions beside the question, an output takes 3 and one more may have been begun.
    fits = 512 - 16 - 3 * 2 - 20
    model.answer([ask("a" * fits)], Decoding(max_new_tokens=20))
    with pytest.raises(UsageError, match=r"case dog: .* are 1 more than the language model's 512; set max_new_tokens"):
        model.answer([ask("a"), ask("a" * (fits + 1), name="dog")], Decoding(max_new_tokens=20))
    with pytest.raises(UsageError, match=r"case dog: .* are 2 more than .* 512; give it fewer or shorter inputs"):
        model.answer([ask("a" * (512 - 16 - 3 + 2), name="dog")], Decoding(tags="forced"))


def test_a_state_that_is_not_finite_is_said_with_its_case(model: LanguageModel) -> None:
    broken = vectors("image", 0)
    broken.values[0, 0] = torch.inf
    with pytest.raises(UsageError, match="case broken: the language model's state is not finite"):
        model.answer([ask("a", name="sound"), ask("a", broken, name="broken")], Decoding())


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}="):
        Decoding(**wrong)
