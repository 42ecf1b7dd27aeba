"""LPIPS against torchmetrics and against its formula, on every form its weights come in, and on each side of a mask."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional.image.lpips as reference
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from harness.errors import AbsentError, UsageError
from harness.names import load as find
from harness.nouns import Features, Media, Metric
from metrics import METRICS
from metrics.extractors.lpips import ALEX, LPIPS, TINY, Architecture, LPIPSTiny, Network, load, stretched
from metrics.tiny import checkpoints as tiny

State = dict[str, Tensor]
Draw = Callable[..., tuple[Media, ...]]

OFFICIAL_LINEAR = Path(reference.__file__).parent / "lpips_models/alex.pth"


def backbone(seed: int) -> State:
    """torchvision's AlexNet at random, wide enough that images are told apart, without most of its classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = {
            name: 3 * tensor if name.endswith("weight") else tensor
            for name, tensor in torchvision.models.alexnet(weights=None).features.state_dict(prefix="features.").items()
        }
    return state | {"classifier.6.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two official files side by side, with random convolutions and the true linear layers."""
    folder = tmp_path_factory.mktemp("official")
    torch.save(backbone(0), folder / "alexnet-owt-7be5be79.pth")
    shutil.copy(OFFICIAL_LINEAR, folder / "alex.pth")
    return folder / "alexnet-owt-7be5be79.pth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("weights") / "lpips-tiny"
    tiny.write_lpips_tiny(place, seed=1)
    return place


def pixels(row: tuple[Media, ...]) -> Tensor:
    """The image of a row, (1, 3, height, width) in [-1, 1]."""
    array = np.array(Image.open(row[0].uri).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(array).permute(2, 0, 1)[None] / 127.5 - 1


def save_mask(path: Path, width: int = 300, height: int = 260, columns: int = 100) -> Media:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, :columns] = 255
    Image.fromarray(mask).save(path)
    return Media("image", uri=str(path))


def torchmetrics_lpips(state: State, first: Tensor, second: Tensor) -> Tensor:
    network = reference._LPIPS(pretrained=True, net="alex", pnet_rand=True, use_dropout=True)
    layers = {name.removeprefix("features."): tensor for name, tensor in state.items() if name.startswith("features.")}
    for part in range(1, 6):
        slice_ = getattr(network.net, f"slice{part}")
        slice_.load_state_dict({name: layers[name] for name in slice_.state_dict()})
    with torch.inference_mode():
        distance = network.eval()(first, second)
    assert isinstance(distance, Tensor)
    return distance


def written_out(state: State, first: Tensor, second: Tensor) -> list[Tensor]:
    """The five maps, from the paper's formula and AlexNet's table of layers."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.cat([first, second]).sub(shift[:, None, None]).div(scale[:, None, None])
    maps = []
    for number, (layer, stride, padding) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
        if number in (1, 2):
            x = functional.max_pool2d(x, 3, 2)
        weight, bias = state[f"features.{layer}.weight"], state[f"features.{layer}.bias"]
        x = functional.conv2d(x, weight, bias, stride, padding).clamp(min=0)
        one, other = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        maps.append(((one - other).square() * state[f"lin{number}.model.1.weight"][0]).sum(0)[None, None])
    return maps


def test_the_official_files_give_the_distance_of_torchmetrics(official: Path, draw: Draw) -> None:
    one, other = draw(0), draw(1)
    found = LPIPS(str(official), "cpu").extract([(*one, *other)])
    assert found.shape == (1, 3) and found.dtype == np.float32
    expected = torchmetrics_lpips(backbone(0), pixels(one), pixels(other))
    assert found[0, 0] == pytest.approx(float(expected), rel=1e-4)
    assert float(expected) > 0.01


def test_the_narrow_network_gives_the_distance_of_the_formula(folder: Path, draw: Draw) -> None:
    one, other = draw(0), draw(1)
    maps = written_out(load_file(folder / "model.safetensors"), pixels(one), pixels(other))
    found = LPIPSTiny(str(folder), "cpu").extract([(*one, *other)])
    assert found[0, 0] == pytest.approx(float(sum(one.mean() for one in maps)), rel=1e-5)
    assert found[0, 1:].tolist() == [-1.0, -1.0]


def test_a_side_of_the_mask_is_the_mean_of_the_stretched_map(folder: Path, draw: Draw, tmp_path: Path) -> None:
    one, other = draw(0), draw(1)
    maps = written_out(load_file(folder / "model.safetensors"), pixels(one), pixels(other))
    spatial = sum(functional.interpolate(one, (260, 300), mode="bilinear", align_corners=False)[0, 0] for one in maps)
    assert isinstance(spatial, Tensor)
    (found,) = LPIPSTiny(str(folder), "cpu").extract([(*one, *other, save_mask(tmp_path / "mask.png"))])
    assert found[1] == pytest.approx(float(spatial[:, :100].mean()), rel=1e-5)
    assert found[2] == pytest.approx(float(spatial[:, 100:].mean()), rel=1e-5)
    (whole,) = LPIPSTiny(str(folder), "cpu").extract([(*one, *other)])
    assert found[0] == whole[0]


def test_equal_images_are_at_no_distance_and_neither_comes_first(folder: Path, draw: Draw, tmp_path: Path) -> None:
    extractor, mask = LPIPSTiny(str(folder), "cpu"), save_mask(tmp_path / "mask.png")
    one, other = draw(0), draw(1)
    assert extractor.extract([(*one, *one, mask)]).tolist() == [[0.0, 0.0, 0.0]]
    forth, back = extractor.extract([(*one, *other, mask), (*other, *one, mask)])
    np.testing.assert_allclose(forth, back, rtol=1e-5)
    assert (forth > 0).all()


def test_a_batch_is_its_rows_whatever_their_sizes(folder: Path, draw: Draw) -> None:
    extractor = LPIPSTiny(str(folder), "cpu")
    rows = [(*draw(0), *draw(1)), (*draw(2, 100, 90), *draw(3, 100, 90)), (*draw(4), *draw(5, 64, 80))]
    together = extractor.extract(rows)
    np.testing.assert_array_equal(together, np.concatenate([extractor.extract([row]) for row in rows]))


def test_an_output_of_another_size_is_brought_to_its_sources(folder: Path, draw: Draw, tmp_path: Path) -> None:
    large, source = draw(0, 400, 380), draw(1, 100, 90)
    Image.open(large[0].uri).resize((100, 90), Image.Resampling.BICUBIC).save(tmp_path / "small.png")
    extractor = LPIPSTiny(str(folder), "cpu")
    found = extractor.extract([(*large, *source), (Media("image", uri=str(tmp_path / "small.png")), *source)])
    np.testing.assert_array_equal(found[0], found[1])


def test_one_file_with_both_parts_gives_the_distances_of_the_two_files(
    official: Path, draw: Draw, tmp_path: Path
) -> None:
    linear = torch.load(OFFICIAL_LINEAR, map_location="cpu", weights_only=True)
    both = {name: tensor for name, tensor in (backbone(0) | linear).items() if not name.startswith("classifier")}
    save_file(both, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(ALEX.config()))
    row = (*draw(0, 90, 80), *draw(1, 90, 80))
    expected = LPIPS(str(official), "cpu").extract([row])
    for place in (tmp_path, tmp_path / "model.safetensors"):
        np.testing.assert_array_equal(LPIPS(str(place), "cpu").extract([row]), expected)


def test_convolutions_without_linear_layers_beside_them_are_absent_and_other_layers_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "alexnet.pth"
    torch.save(backbone(0), file)
    with pytest.raises(AbsentError, match=r"alex\.pth: no such file; .*put alex\.pth beside it"):
        load(file, ALEX)
    torch.save({f"lin{number}.model.1.weight": torch.ones(1, 64, 1, 1) for number in range(5)}, tmp_path / "alex.pth")
    with pytest.raises(UsageError, match=r"alex\.pth: not the official linear layers"):
        load(file, ALEX)


@pytest.mark.parametrize("key", ["features.6.bias", "lin3.model.1.weight"])
def test_a_missing_and_a_misshapen_tensor_are_named(folder: Path, tmp_path: Path, key: str) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in state.items() if name != key}, tmp_path / "less.safetensors")
    with pytest.raises(UsageError, match=f"missing key: {key}"):
        load(tmp_path / "less.safetensors", TINY)
    with pytest.raises(
        UsageError, match=r"features.0.weight has the shape \(8, 3, 11, 11\), expected \(64, 3, 11, 11\)"
    ):
        load(folder / "model.safetensors", ALEX)


def test_an_unexpected_tensor_and_another_config_are_refused(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(state | {"lin5.model.1.weight": torch.ones(1)}, tmp_path / "more.safetensors")
    with pytest.raises(UsageError, match=r"unexpected key: lin5\.model\.1\.weight"):
        load(tmp_path / "more.safetensors", TINY)
    with pytest.raises(UsageError, match="hidden_size is 12, expected 256"):
        load(folder, ALEX)


def test_masks_that_do_not_fit_and_images_too_small_are_refused(folder: Path, draw: Draw, tmp_path: Path) -> None:
    extractor, pair = LPIPSTiny(str(folder), "cpu"), (*draw(0), *draw(1))
    with pytest.raises(UsageError, match=r"mask\.png: the mask has 64 x 64 pixels"):
        extractor.extract([(*pair, save_mask(tmp_path / "mask.png", 64, 64))])
    with pytest.raises(UsageError, match=r"all\.png: no pixel is outside the mask"):
        extractor.extract([(*pair, save_mask(tmp_path / "all.png", columns=300))])
    with pytest.raises(UsageError, match="30 x 50 pixels; LPIPS needs 31 a side"):
        extractor.extract([(*draw(2, 30, 50), *draw(3, 30, 50))])
    assert np.isfinite(extractor.extract([(*draw(2, 31, 31), *draw(3, 31, 31))])).all()


def test_stretching_keeps_a_constant() -> None:
    maps = [torch.full((1, 1, side, side + 1), 2.0) for side in (3, 5)]
    torch.testing.assert_close(stretched(maps, (40, 50)), torch.full((1, 1, 40, 50), 4.0))


@pytest.mark.parametrize("architecture", [ALEX, TINY])
def test_the_names_are_torchvisions_and_the_official_ones(architecture: Architecture) -> None:
    names = set(Network(architecture).state_dict())
    expected = {name for name in backbone(0) if name.startswith("features.")}
    assert names == expected | {f"lin{number}.model.1.weight" for number in range(5)}


def test_init_writes_the_same_bytes_for_the_same_seed_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        tiny.write_lpips_tiny(tmp_path / name, seed)
    assert torch.equal(torch.rand(3), expected)
    one, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


@pytest.mark.parametrize("ending", ["", "-tiny"])
def test_a_metric_is_its_column_and_what_a_row_without_a_mask_has_there_is_outside_of_its_range(ending: str) -> None:
    metrics: list[Metric] = [find(METRICS[name + ending]) for name in ("lpips", "lpips_inside", "lpips_outside")]
    values, zero = np.array([[0.25, -1.0, -1.0]], dtype=np.float32), np.zeros(1, dtype=np.int64)
    row = Features(values, np.array(["case"]), zero, zero, zero)
    whole, inside, outside = (one.compute(output=row) for one in metrics)
    assert whole == 0.25 and inside == outside == -1.0 < metrics[1].range[0]
    assert [len(one.needs["output"].of) for one in metrics] == [2, 3, 3]
