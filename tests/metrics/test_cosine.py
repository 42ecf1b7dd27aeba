"""The laws of the cosine metrics, and closed forms of the oracle's readings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.nouns import Features
from metrics.cosine import (
    CLIP_T,
    DINO,
    DINO_DISTINCT_MICRO,
    DINO_SELF_MACRO,
    DINO_SELF_MICRO,
    cosine_to_prompt,
    mean_cosine,
    pair_mean_cosine,
)

seeds = st.integers(0, 2**32 - 1)


def features(values: NDArray[np.floating], case: list[str], turn: int | list[int] = 0, sample: int = -1) -> Features:
    rows = len(case)
    turns = np.full(rows, turn) if isinstance(turn, int) else np.array(turn)
    return Features(
        np.asarray(values),
        np.array(case, dtype=str),
        turns.astype(np.int64),
        np.full(rows, sample),
        np.full(rows, min(sample, 0)),
    )


def take(table: Features, rows: NDArray[np.int64] | list[int]) -> Features:
    return Features(table.values[rows], table.case[rows], table.turn[rows], table.sample[rows], table.output[rows])


def world(seed: int, cases: int = 4, dim: int = 6) -> tuple[Features, Features]:
    """Outputs and references of several cases, each with two to five references and one to three outputs."""
    generator = np.random.default_rng(seed)
    references = [str(case) for case in range(cases) for _ in range(generator.integers(2, 6))]
    outputs = [str(case) for case in range(cases) for _ in range(generator.integers(1, 4))]
    values = generator.normal(size=(len(outputs) + len(references), dim)).astype(np.float32)
    return features(values[: len(outputs)], outputs, sample=0), features(values[len(outputs) :], references)


def pair_cosines(output: Features, reference: Features) -> list[list[float]]:
    """Straight from the definition, one pair at a time."""
    rows = []
    for x, case, turn in zip(output.values.astype(float), output.case, output.turn, strict=True):
        own = [y for y, c, t in zip(reference.values.astype(float), reference.case, reference.turn, strict=True)
               if c == case and t == turn]  # fmt: skip
        rows.append([float(x @ y) / float(np.sqrt(x @ x) * np.sqrt(y @ y)) for y in own])
    return rows


def oracle(seed: int, sizes: tuple[int, ...]) -> tuple[Features, Features, Features, list[NDArray[np.float64]]]:
    """Each photograph of each subject as a case: itself the output, the others `reference`, all of them `subject`."""
    generator = np.random.default_rng(seed)
    subjects = [generator.normal(size=(size, 8)) + generator.normal(size=8) for size in sizes]
    output, reference, subject = [], [], []
    for number, photographs in enumerate(subjects):
        for index, photograph in enumerate(photographs):
            case = f"{number}-{index}"
            output.append((case, photograph))
            subject += [(case, other) for other in photographs]
            reference += [(case, other) for position, other in enumerate(photographs) if position != index]
    tables = [features(np.array([v for _, v in rows]), [c for c, _ in rows]) for rows in (output, reference, subject)]
    units = [photographs / np.linalg.norm(photographs, axis=1, keepdims=True) for photographs in subjects]
    return tables[0], tables[1], tables[2], [unit @ unit.T for unit in units]


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_the_metric_is_the_mean_of_the_pair_cosines(seed: int) -> None:
    output, reference = world(seed)
    expected = [np.mean(row) for row in pair_cosines(output, reference)]
    np.testing.assert_allclose(mean_cosine(output, reference), expected, atol=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_the_order_of_references_and_of_outputs_does_not_matter(seed: int) -> None:
    output, reference = world(seed)
    generator = np.random.default_rng(seed)
    shuffled = take(reference, generator.permutation(len(reference.case)))
    order = generator.permutation(len(output.case))
    values = mean_cosine(output, reference)
    np.testing.assert_allclose(mean_cosine(take(output, order), shuffled), values[order], atol=1e-12)
    assert pair_mean_cosine(take(output, order), shuffled) == pytest.approx(
        pair_mean_cosine(output, reference), abs=1e-12
    )


@given(seeds, st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=40)
def test_scaling_an_embedding_changes_nothing_and_negating_it_negates(seed: int, scale: float) -> None:
    output, reference = world(seed)
    scaled = features(output.values.astype(float) * scale, output.case.tolist())
    negated = features(-output.values, output.case.tolist())
    values = mean_cosine(output, reference)
    np.testing.assert_allclose(mean_cosine(scaled, reference), values, atol=1e-12)
    np.testing.assert_allclose(mean_cosine(negated, reference), -values, atol=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_the_macro_mean_is_the_dot_product_of_the_mean_unit_vectors(seed: int) -> None:
    output, reference = world(seed, cases=1)
    g, r = (v.values.astype(float) / np.linalg.norm(v.values.astype(float), axis=1, keepdims=True)
            for v in (output, reference))  # fmt: skip
    assert mean_cosine(output, reference).mean() == pytest.approx(g.mean(axis=0) @ r.mean(axis=0), abs=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_duplicating_every_reference_changes_nothing(seed: int) -> None:
    output, reference = world(seed)
    twice = take(reference, np.tile(np.arange(len(reference.case)), 2))
    np.testing.assert_allclose(mean_cosine(output, twice), mean_cosine(output, reference), atol=1e-12)
    assert pair_mean_cosine(output, twice) == pytest.approx(pair_mean_cosine(output, reference), abs=1e-12)


@given(seeds, st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_shards_scored_apart_give_the_same_values(seed: int, shards: int) -> None:
    output, reference = world(seed)
    parts = np.array_split(np.arange(len(output.case)), shards)
    apart = np.concatenate([mean_cosine(take(output, part), reference) for part in parts])
    np.testing.assert_allclose(apart, mean_cosine(output, reference), rtol=0, atol=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_values_stay_between_minus_one_and_one_and_a_copy_scores_one(seed: int) -> None:
    output, reference = world(seed)
    assert np.abs(mean_cosine(output, reference)).max() <= 1 + 1e-12
    itself = take(output, [0])
    assert mean_cosine(itself, itself)[0] == pytest.approx(1, abs=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_the_metric_is_symmetric_for_one_reference(seed: int) -> None:
    output, reference = (take(table, [0]) for table in world(seed))
    np.testing.assert_allclose(mean_cosine(output, reference), mean_cosine(reference, output), atol=1e-12)


def test_negative_cosines_are_not_clamped_and_nothing_is_scaled_to_100() -> None:
    output = features(np.array([[1.0, 0.0], [1.0, 0.0]]), ["a", "b"])
    reference = features(np.array([[-3.0, 0.0], [4.0, 3.0]]), ["a", "b"])
    np.testing.assert_allclose(mean_cosine(output, reference), [-1.0, 0.8])


def test_a_negative_pair_is_averaged_as_it_is() -> None:
    output = features(np.array([[1.0, 0.0]]), ["a"])
    reference = features(np.array([[-1.0, 0.0], [1.0, 0.0], [0.6, 0.8]]), ["a", "a", "a"])
    assert mean_cosine(output, reference)[0] == pytest.approx(0.2)


def test_an_output_sees_the_references_of_its_own_case_and_turn_alone() -> None:
    output = features(np.eye(2)[[0, 0, 0]], ["a", "a", "b"], turn=[0, 1, 0])
    reference = features(np.eye(2)[[0, 1]], ["a", "a"], turn=[0, 1])
    np.testing.assert_array_equal(mean_cosine(output, reference), [1.0, 0.0, np.nan])


def test_a_zero_vector_has_no_cosine() -> None:
    output = features(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), ["a", "a", "b"])
    reference = features(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), ["a", "b", "b"])
    np.testing.assert_array_equal(mean_cosine(output, reference), [np.nan, 1.0, np.nan])
    assert np.isnan(pair_mean_cosine(output, reference))


def test_no_outputs_give_no_values_and_no_pairs_no_value() -> None:
    nothing, reference = features(np.zeros((0, 2)), []), features(np.eye(2), ["a", "b"])
    assert mean_cosine(nothing, reference).shape == (0,)
    assert np.isnan(pair_mean_cosine(nothing, reference))
    assert np.isnan(pair_mean_cosine(reference, nothing))


def test_float32_features_are_compared_in_float64() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 4096)).astype(np.float32)
    x, y = values.astype(np.float64)
    exact = x @ y / np.sqrt((x @ x) * (y @ y))
    found = mean_cosine(features(values[:1], ["a"]), features(values[1:], ["a"]))
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(exact, abs=1e-15)


def test_an_orthonormal_subject_has_one_over_n_with_itself_and_zero_without() -> None:
    case = ["a"] * 5
    assert pair_mean_cosine(features(np.eye(5), case), features(np.eye(5), case)) == pytest.approx(1 / 5)
    others = features(np.eye(5)[1:], case[1:])
    assert mean_cosine(features(np.eye(5)[:1], ["a"]), others)[0] == 0


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_with_itself_among_n_photographs_a_subject_has_n_minus_one_x_plus_one_over_n(seed: int) -> None:
    sizes = (4, 5, 6)
    output, reference, subject, _ = oracle(seed, sizes)
    distinct, itself = DINO.compute(output, reference), DINO_SELF_MACRO.compute(output, subject)
    for number, n in enumerate(sizes):
        own = np.char.startswith(output.case, f"{number}-")
        assert itself[own].mean() == pytest.approx(((n - 1) * distinct[own].mean() + 1) / n, abs=1e-12)


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_distinct_ordered_pairs_equal_the_mean_over_unordered_pairs(seed: int) -> None:
    output, reference, _, products = oracle(seed, (4, 6))
    unordered = [product[np.triu_indices(len(product), 1)] for product in products]
    macro = [DINO.compute(output, reference)[np.char.startswith(output.case, f"{i}-")].mean() for i in range(2)]
    np.testing.assert_allclose(macro, [values.mean() for values in unordered], atol=1e-12)
    micro = DINO_DISTINCT_MICRO.compute(output, reference)
    assert micro == pytest.approx(np.concatenate(unordered).mean(), abs=1e-12)


def test_the_published_sizes_turn_774_into_816_micro_and_817_macro() -> None:
    # 2 subjects with 4 photographs, 18 with 5, 10 with 6, and equal cosines between all photographs of a subject.
    x, sizes = 0.774, (4,) * 2 + (5,) * 18 + (6,) * 10
    values = [np.linalg.cholesky((1 - x) * np.eye(n) + x) for n in sizes]
    output, reference, subject = [], [], []
    for number, rows in enumerate(values):
        padded = np.pad(rows, ((0, 0), (0, 6 - len(rows))))
        for index, row in enumerate(padded):
            output.append((f"{number}-{index}", row))
            subject += [(f"{number}-{index}", other) for other in padded]
            reference += [(f"{number}-{index}", other) for other in np.delete(padded, index, axis=0)]
    out, ref, own = (features(np.array([v for _, v in rows]), [c for c, _ in rows])
                     for rows in (output, reference, subject))  # fmt: skip
    per_case = DINO_SELF_MACRO.compute(out, own)
    macro = np.mean([per_case[np.char.startswith(out.case, f"{number}-")].mean() for number in range(30)])
    assert len(reference) == 684 and len(subject) == 842
    assert DINO_DISTINCT_MICRO.compute(out, ref) == pytest.approx(x, abs=1e-12)
    assert DINO_SELF_MICRO.compute(out, own) == pytest.approx((684 * x + 158) / 842, abs=1e-12)
    assert round(float(macro), 3) == 0.817 and round(DINO_SELF_MICRO.compute(out, own), 3) == 0.816


def test_what_clip_t_scores_is_its_own_prompt_and_no_photograph() -> None:
    assert {need.of for need in CLIP_T.needs.values()} == {("output",), ("prompt",)}
    output = features(np.array([[2.0, 0.0], [0.0, 2.0]]), ["a", "b"])
    prompt = features(np.array([[0.6, 0.8], [0.6, 0.8]]), ["a", "b"])
    np.testing.assert_allclose(cosine_to_prompt(output=output, prompt=prompt), [0.6, 0.8])
