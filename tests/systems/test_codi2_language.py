"""CoDi-2's language model against its equations, and what its answers may and may not depend on."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from language_reference import END, OPENING, START, Reference, spell
from language_toys import DIM, HIDDEN, Toy, ask, bridge, configuration, lora, random_toy, save, told, vectors
from transformers import LlamaForCausalLM

from systems.codi2 import language
from systems.codi2.checkpoint import Adapters
from systems.codi2.conversation import Decoding, Request, Vectors
from systems.codi2.language import LanguageModel

FREE, FORCED = Decoding(max_new_tokens=10), Decoding(tags="forced")
CLOSE = 1e-5


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return random_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def model(toy: Toy) -> LanguageModel:
    return toy.load()


@pytest.fixture(scope="module")
def exact(toy: Toy) -> LanguageModel:
    """In float64 but for its projectors: random weights make 1e-5 of the rounding that float32 leaves."""
    return toy.load(dtype=torch.float64)


def slot(part: Vectors) -> list:
    opening = OPENING.get(part.modality)
    values = list(part.values.double().numpy())
    return [opening, *values, opening + 1] if opening else values


def sequence(*parts: str | Vectors) -> list:
    """The chat's opening exchange by hand; words come with the spaces that they keep."""
    written = [slot(part) if isinstance(part, Vectors) else spell(part) for part in parts]
    return [START, *spell("[INST]"), *chain(*written), *spell("[/INST]")]


def apart(values: torch.Tensor, expected: np.ndarray | torch.Tensor) -> float:
    """The distance, relative to what is expected."""
    expected = np.asarray(expected)
    return float(np.linalg.norm(values.numpy() - expected) / np.linalg.norm(expected))


PICTURE, SOUND, CLIP, PHRASE = vectors("image", 1, 5), vectors("audio", 2), vectors("video", 3), vectors("text", 4)


def test_answers_are_those_of_the_equations(toy: Toy, model: LanguageModel) -> None:
    request = ask("a ", PICTURE, " b", SOUND, "c", CLIP, PHRASE, "d", wants=("image", "audio", "text"))
    prompt = sequence(" a", PICTURE, "b", SOUND, "c", CLIP, PHRASE, "d ")
    # A space stands between [INST] and the question's own first word, and before [/INST].
    (answer,) = model.answer([request], FREE)
    added, features = Reference(toy).answer(prompt, ("image", "audio"), FREE.max_new_tokens)
    assert [feature.modality for feature in answer.features] == [modality for modality, _ in features]
    assert all(apart(f.values, v) < CLOSE for f, (_, v) in zip(answer.features, features, strict=True))
    for element, expected in zip(answer.appended, added, strict=True):
        same = element == expected if isinstance(expected, int) else apart(element[0], expected) < CLOSE
        assert same


def test_the_feature_is_read_at_the_tag_and_nowhere_beside_it(toy: Toy, model: LanguageModel) -> None:
    prompt, reference = sequence(" a", PICTURE), Reference(toy)
    (answer,) = model.answer([ask("a", PICTURE)], FORCED)
    (feature,) = answer.features
    at = reference.feature([*prompt, OPENING["image"]])
    before = reference.feature(prompt)
    after = reference.feature([*prompt, OPENING["image"], at / np.linalg.norm(at)])
    assert apart(feature.values, at) < CLOSE
    assert min(apart(feature.values, before), apart(feature.values, after)) > 0.1


def test_a_later_output_reads_the_earlier_ones(toy: Toy, model: LanguageModel) -> None:
    (answer,) = model.answer([ask("a", wants=("image", "audio"))], FORCED)
    prompt, reference = sequence(" a "), Reference(toy)
    unit = answer.features[0].values.double().numpy()
    unit /= np.linalg.norm(unit)
    with_it = reference.feature([*prompt, 259, unit, 260, 261])
    other = reference.feature([*prompt, 259, -unit, 260, 261])
    assert apart(answer.features[1].values, with_it) < CLOSE
    assert apart(answer.features[1].values, other) > 0.1


def test_without_feedback_a_word_takes_the_slots_place(toy: Toy) -> None:
    (answer,) = toy.load(feedback=False).answer([ask("a", wants=("image", "audio"))], FORCED)
    prompt, reference = [*sequence(" a "), 259], Reference(toy)
    logits = reference.head @ reference.state(prompt)
    logits[[END, *range(259, 265)]] = -np.inf
    word = int(logits.argmax())
    assert answer.appended == (259, word, 260, 261, answer.appended[4], 262)
    assert answer.text == ""
    assert apart(answer.features[0].values, reference.feature(prompt)) < CLOSE
    assert apart(answer.features[1].values, reference.feature([*prompt, word, 260, 261])) < CLOSE


parts = st.one_of(
    st.text("abc ", min_size=1, max_size=20),
    st.builds(vectors, st.sampled_from(["image", "audio", "video", "text"]), st.integers(0, 99), st.integers(1, 9)),
)
requests = st.builds(
    lambda question, wants, seed: ask(*question, wants=tuple(wants), seed=seed),
    st.lists(parts, max_size=5),
    st.lists(st.sampled_from(["image", "audio", "video", "text"]), max_size=3),
    st.integers(0, 99),
)
decodings = st.sampled_from([FREE, FORCED, Decoding(temperature=1.0, top_p=0.9, max_new_tokens=6)])


@settings(max_examples=8, deadline=None)
@given(st.lists(requests, min_size=2, max_size=6), decodings, st.randoms(use_true_random=False))
def test_a_batch_answers_as_each_alone_in_any_order(
    exact: LanguageModel, batch: list[Request], decoding: Decoding, random
) -> None:
    order = random.sample(range(len(batch)), len(batch))
    together = exact.answer([batch[index] for index in order], decoding)
    for index, answer in zip(order, together, strict=True):
        (alone,) = exact.answer([batch[index]], decoding)
        assert answer.text == alone.text
        assert [(f.modality, f.forced) for f in answer.features] == [(f.modality, f.forced) for f in alone.features]
        assert all(apart(f.values, g.values) < CLOSE for f, g in zip(answer.features, alone.features, strict=True))


def test_padding_changes_nothing(exact: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MOST_PADDING", 1.0)
    short, long = ask("a", SOUND, wants=("image", "text")), ask("b" * 300, PICTURE, wants=("image", "text"))
    (padded, _), (alone,) = exact.answer([short, long], FREE), exact.answer([short], FREE)
    assert padded.text == alone.text
    assert all(apart(f.values, g.values) < CLOSE for f, g in zip(padded.features, alone.features, strict=True))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4000), max_size=40))
def test_rows_of_like_length_are_read_together(lengths: list[int]) -> None:
    cut = language.buckets(lengths)
    assert sorted(chain(*cut)) == list(range(len(lengths)))
    for rows in cut:
        own = [lengths[row] for row in rows]
        assert 1 - sum(own) / (max(own) * len(own)) <= 0.25
    assert len(language.buckets([7] * 9)) <= 1


def test_the_order_of_inputs_matters(model: LanguageModel) -> None:
    one, other = vectors("image", 5, 3), vectors("image", 6, 3)
    first, second = model.answer([ask(one, "and", other), ask(other, "and", one)], FORCED)
    assert apart(first.features[0].values, second.features[0].values) > 0.01


def test_every_input_vector_reaches_the_feature(model: LanguageModel) -> None:
    question = [vectors("image", 5, 5), "a", SOUND, CLIP, PHRASE]
    media = [part for part in question if isinstance(part, Vectors)]
    whole = torch.cat([part.values for part in media])
    changed = []
    for position in range(len(whole)):
        values = whole.clone()
        values[position, position] += 0.5
        pieces = iter(values.split([len(part.values) for part in media]))
        changed.append([replace(part, values=next(pieces)) if isinstance(part, Vectors) else part for part in question])
    before, *after = model.answer([ask(*question), *(ask(*one) for one in changed)], FORCED)
    moved = [apart(answer.features[0].values, before.features[0].values) for answer in after]
    assert len(moved) == 8
    assert min(moved) > 1e-3


def test_a_second_turn_reads_the_first_answer_as_it_was_given(toy: Toy, model: LanguageModel) -> None:
    (first,) = model.answer([ask("a", PICTURE, wants=("image", "text"))], FREE)
    earlier = told(("a", PICTURE), first)
    (second,) = model.answer([ask("b", exchanges=(earlier,))], FORCED)
    given_back = [e if isinstance(e, int) else e[0].double().numpy() for e in first.appended]
    prompt = [*sequence(" a", PICTURE), *given_back, END, *sequence(" b "), 259]
    assert apart(second.features[0].values, Reference(toy).feature(prompt)) < CLOSE
    slots = [index for index, element in enumerate(first.appended) if not isinstance(element, int)]
    other = [*first.appended]
    other[slots[0]] = -other[slots[0]]
    (misled,) = model.answer(
        [ask("b", exchanges=(told(("a", PICTURE), replace(first, appended=tuple(other))),))], FORCED
    )
    assert apart(second.features[0].values, misled.features[0].values) > 0.01


def test_attention_without_preference_predicts_from_the_mean_of_what_stands_before(tmp_path: Path) -> None:
    """One layer, q = k = 0, v = o = 1, no MLP: the state is norm(tag + mean of norm(everything up to the tag))."""
    llama = LlamaForCausalLM(configuration(num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1))
    for name, weight in llama.named_parameters():
        keeps = name.endswith(("v_proj.weight", "o_proj.weight"))
        flat = torch.eye(HIDDEN) if keeps else torch.zeros_like(weight)
        weight.data = weight.data if "embed" in name else flat if weight.dim() == 2 else torch.ones_like(weight)
    save(llama, tmp_path)
    into, out, tags = bridge(DIM, HIDDEN), bridge(HIDDEN, DIM), torch.randn(6, HIDDEN)
    toy = Toy(tmp_path, Adapters(lora(llama, 0.0), into, out, tags, tags))
    model = toy.load()
    one, other = vectors("image", 1, 4), vectors("audio", 2)
    (answer,) = model.answer([ask(one, "x", other)], FORCED)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    words = llama.model.embed_tokens.weight.detach()
    bridged = [model.network.input_projector(part.values).detach() for part in (one, other)]
    start, ask_, after = (words[ids] for ids in ([START, *spell("[INST]")], spell("x"), spell("[/INST]")))
    read = [start, tags[:1], bridged[0], tags[1:2], ask_, tags[2:3], bridged[1], tags[3:4], after, tags[:1]]
    state = norm(tags[0] + norm(torch.cat(read)).mean(0))
    expected = model.network.output_projector(state).detach()
    assert apart(answer.features[0].values, expected) < CLOSE
    # The mean without the picture's vectors is another one.
    less = norm(tags[0] + norm(torch.cat(read[:2] + read[3:])).mean(0))
    assert apart(answer.features[0].values, model.network.output_projector(less).detach()) > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_nearly_the_same(toy: Toy, model: LanguageModel, dtype: torch.dtype) -> None:
    question = ask("a", PICTURE, SOUND, wants=("image", "audio"))
    half, whole = toy.load(dtype=dtype).answer([question] * 2, FORCED)[1], model.answer([question], FORCED)[0]
    for one, other in zip(half.features, whole.features, strict=True):
        assert one.values.dtype == torch.float32
        assert 0 < apart(one.values, other.values) < 0.1
