"""FID's Inception: its resizing and features against figures of torch-fidelity and clean-fid, its keys, bad weights.

The figures were printed by torch-fidelity 0.4.0 and clean-fid 0.1.35 for pictures drawn here, on a CPU with PyTorch
2.13 and NumPy 2; the weights are `random_network(FULL, 0)`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models import inception_v3 as torchvision_inception

from harness.errors import AbsentError, UsageError
from harness.nouns import Features, Media
from metrics.extractors.inception_v3 import (
    FULL,
    InceptionV3,
    InceptionV3Clean,
    InceptionV3Tiny,
    Network,
    resize_as_clean_fid,
    resize_as_tensorflow,
)
from metrics.fid import fid, picture_inception_score
from metrics.inception_columns import pool3
from metrics.kernel_distance import polynomial_discrepancy
from metrics.tiny import inception as tiny_inception

Row = tuple[Media, ...]
DIAGONAL = ([0, 1, 150, 297, 298], [0, 2, 77, 200, 298])

# torch-fidelity's interpolate_bilinear_2d_like_tensorflow1x, clean-fid's build_resizer("clean"): the picture of 370 x
# 270 that `drawn(2, 16)` draws last, at five places, and the mean of all.
TENSORFLOW = (
    [[16.0, 16.0, 38.0], [16.0, 16.0, 38.0], [4.2842864990234375, 14.715713500976562, 33.71571350097656],
     [21.0, 26.0, 5.49163818359375], [7.0, 0.0, 27.0]], 24.069006938155027,
)  # fmt: skip
CLEAN = (
    [[16.0, 16.0, 38.0], [16.0, 16.0, 38.002323150634766],
     [4.4597930908203125, 14.635894775390625, 33.655826568603516],
     [20.960323333740234, 25.960323333740234, 5.559230327606201], [7.0, 0.0, 27.0]], 24.069469320520092,
)  # fmt: skip

# torch_fidelity.calculate_metrics of the folders of `drawn(1, 16)` and `drawn(2, 16)`, kid_subset_size=10.
FID, KID, INCEPTION_SCORE = 50.647552431658724, 0.14662793159484863, 1.0001467763286829
# Its features of the first picture.
FIRST_POOL3 = [0.9108955264091492, 0.5046093463897705, 0.3446432948112488, 0.0]
FIRST_LOGITS = [-0.7078952789306641, 0.36749595403671265, 0.5188860893249512, 0.4765825569629669]
LENGTHS = (19.430341720581055, 18.684511184692383)


def drawn(seed: int, n: int) -> list[Image.Image]:
    """Smooth random pictures; those of seed 2 are dark, and larger."""
    generator = np.random.default_rng(seed)
    coarse = [generator.integers(0, 256, (5 + seed, 7, 3), dtype=np.uint8) // (4 * seed - 3) for _ in range(n)]
    size = (280 + 90 * (seed - 1), 310 - 40 * (seed - 1))
    return [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in coarse]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "inception-tiny"
    tiny_inception.write_inception_tiny(folder, seed=1)
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Pictures in files: of three sizes, one of them grey, one a single pixel."""
    pictures = [*drawn(1, 2), drawn(2, 1)[0], drawn(1, 1)[0].convert("L"), Image.new("RGB", (1, 1), (255, 128, 0))]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    return [(Media("image", uri=str(tmp_path / f"{number}.png")),) for number in range(len(pictures))]


def test_resizing_is_torch_fidelitys_to_the_bit() -> None:
    resized, (expected, mean) = resize_as_tensorflow(drawn(2, 16)[-1]), TENSORFLOW
    np.testing.assert_array_equal(resized[DIAGONAL], np.array(expected, dtype=np.float32))
    assert float(resized.astype(np.float64).mean()) == mean


def test_clean_resizing_is_clean_fids() -> None:
    resized, (expected, mean) = resize_as_clean_fid(drawn(2, 16)[-1]), CLEAN
    np.testing.assert_allclose(resized[DIAGONAL], expected, atol=1e-4)
    assert float(resized.astype(np.float64).mean()) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("resize", [resize_as_tensorflow, resize_as_clean_fid])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (299, 299), (1200, 3)])
def test_any_size_becomes_299_and_stays_within_eight_bits(resize: object, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    resized: NDArray[np.float32] = resize(Image.fromarray(noise))  # type: ignore[operator]
    assert resized.shape == (299, 299, 3) and resized.dtype == np.float32
    assert resized.min() >= 0 and resized.max() <= 255
    if size == (299, 299):
        np.testing.assert_array_equal(resized, noise)


def test_tensorflow_samples_at_whole_multiples_of_the_step() -> None:
    """Of a picture twice as wide every other column is taken, and nothing is averaged."""
    noise = np.random.default_rng(0).integers(0, 256, (299, 598, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_as_tensorflow(Image.fromarray(noise)), noise[:, ::2])


def test_keys_are_the_published_ones() -> None:
    """Those of torchvision's Inception without the auxiliary classifier, which pytorch-fid pours the file into."""
    theirs = torchvision_inception(num_classes=1008, aux_logits=False, weights=None, init_weights=False).state_dict()
    own = Network(FULL).state_dict()
    shapes = {key: tensor.shape for key, tensor in theirs.items() if not key.endswith("num_batches_tracked")}
    assert {key: tensor.shape for key, tensor in own.items()} == shapes


def test_rows_do_not_depend_on_their_batch_and_are_pool3_then_logits(tiny_folder: Path, rows: list[Row]) -> None:
    extractor = InceptionV3Tiny(str(tiny_folder), "cpu")
    together = extractor.extract(rows)
    assert together.shape == (len(rows), 128 + 1008) and together.dtype == np.float32
    for number, row in enumerate(rows):
        np.testing.assert_allclose(extractor.extract([row])[0], together[number], rtol=1e-4, atol=1e-5)
    weight = load_file(tiny_folder / "model.safetensors")["fc.weight"].numpy()
    np.testing.assert_allclose(together[:, 128:], together[:, :128] @ weight.T, rtol=1e-3, atol=1e-4)
    assert np.linalg.norm(together[0] - together[1]) > 0.01 * np.linalg.norm(together[0])


def test_average_pools_leave_the_padding_out_and_the_last_pool_is_a_maximum() -> None:
    network = Network(FULL)
    ones = torch.ones(1, 4, 8, 8)
    assert torch.equal(network.Mixed_7b.pool(ones), ones)
    ramp = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert float(network.Mixed_7c.pool(ramp)[0, 0, 0, 0]) == 9
    assert float(network.Mixed_7b.pool(ramp)[0, 0, 0, 0]) == pytest.approx(np.mean([0, 1, 8, 9]))


def test_the_two_profiles_differ_in_their_pictures_alone(tiny_folder: Path) -> None:
    assert InceptionV3Clean.architecture is InceptionV3.architecture
    picture = drawn(2, 1)[0]
    assert np.abs(resize_as_tensorflow(picture) - resize_as_clean_fid(picture)).max() > 0.1


def test_a_torch_file_with_training_state_is_read_and_a_stranger_refused(tiny_folder: Path, tmp_path: Path) -> None:
    state = load_file(tiny_folder / "model.safetensors")
    training = {"AuxLogits.fc.weight": torch.ones(2), "Mixed_5b.branch1x1.bn.num_batches_tracked": torch.tensor(3)}
    torch.save({**state, **training}, tmp_path / "whole.pth")
    assert InceptionV3Tiny(str(tmp_path / "whole.pth"), "cpu").weights
    del state["Mixed_6c.branch_pool.conv.weight"]
    save_file(state, tmp_path / "lacking.safetensors")
    with pytest.raises(UsageError, match=r"missing key: Mixed_6c\.branch_pool\.conv\.weight"):
        InceptionV3Tiny(str(tmp_path / "lacking.safetensors"), "cpu")
    save_file({**load_file(tiny_folder / "model.safetensors"), "extra": torch.ones(1)}, tmp_path / "more.safetensors")
    with pytest.raises(UsageError, match="unexpected key: extra"):
        InceptionV3Tiny(str(tmp_path / "more.safetensors"), "cpu")
    with pytest.raises(AbsentError, match="no such file"):
        InceptionV3Tiny(str(tmp_path / "nowhere"), "cpu")


def test_weights_of_another_width_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes((tiny_folder / "model.safetensors").read_bytes())
    with pytest.raises(UsageError, match="the shape"):
        InceptionV3(str(tmp_path / "w.safetensors"), "cpu")
    with pytest.raises(UsageError, match="hidden_size is 128, expected 2048"):
        InceptionV3(str(tiny_folder), "cpu")


@pytest.mark.heavy
def test_features_and_distances_are_those_of_torch_fidelity(tmp_path: Path) -> None:
    """Below full rank torch-fidelity's own rounding (eigenvalues of a singular product) is 1e-6 to 1e-7 of this FID."""
    tiny_inception.write_inception(tmp_path / "weights", seed=0)
    extractor = InceptionV3(str(tmp_path / "weights"), "cpu")
    a, b = (_features(extractor, seed, tmp_path) for seed in (1, 2))
    np.testing.assert_allclose(a.values[0, :4], FIRST_POOL3, atol=2e-6)
    np.testing.assert_allclose(a.values[0, 2048:2052], FIRST_LOGITS, atol=2e-6)
    lengths = (np.linalg.norm(a.values[0, :2048]), np.linalg.norm(a.values[0, 2048:]))
    np.testing.assert_allclose(lengths, LENGTHS, rtol=1e-6)
    assert fid(a, b) == pytest.approx(FID, rel=1e-6)
    assert picture_inception_score(a) == pytest.approx(INCEPTION_SCORE, rel=1e-6)
    assert polynomial_discrepancy(pool3(a), pool3(b), subset=10) == pytest.approx(KID, rel=1e-5)


def _features(extractor: InceptionV3, seed: int, folder: Path) -> Features:
    files = [folder / f"{seed}-{number:03d}.png" for number in range(16)]
    for file, picture in zip(files, drawn(seed, 16), strict=True):
        picture.save(file)
    values, zeros = extractor.extract([(Media("image", uri=str(file)),) for file in files]), np.zeros(16, np.int64)
    return Features(values, np.array([file.name for file in files]), zeros, zeros, zeros)
