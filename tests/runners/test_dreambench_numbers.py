"""The numbers of whole DreamBench runs against a straight-line script that shares no code with them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from harness.nouns import Summary
from harness.pool import LocalPool
from harness.store import Store
from runners.evaluation import evaluate
from runners.preparation import Request, prepare

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256, interpolation=InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)

Embeddings = dict[str, list[np.ndarray]]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ViT-S/16 of another library with random weights, saved under the official file's name and keys."""
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch16_224", pretrained=False, num_classes=0)
    state = {name: torch.randn_like(value) * 0.05 for name, value in network.state_dict().items()}
    file = tmp_path_factory.mktemp("weights") / "dino_deitsmall16_pretrain.pth"
    torch.save(state, file)
    return file


@pytest.fixture(scope="module")
def embeddings(weights: Path) -> Embeddings:
    """Unit embeddings of the three embedded subjects' photographs, in the order of their files."""
    network = timm.create_model("vit_small_patch16_224", pretrained=False, num_classes=0).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    dataset = Path(__file__).parents[2] / "benchmarks/embedded/dreambench/dataset"
    found: Embeddings = {}
    for folder in sorted(path for path in dataset.iterdir() if path.is_dir()):
        for photograph in sorted(folder.glob("*.jpg")):
            with torch.inference_mode():
                vector = network(TRANSFORM(Image.open(photograph).convert("RGB"))[None])[0].double().numpy()
            found.setdefault(folder.name, []).append(vector / np.linalg.norm(vector))
    return found


def run(tmp_path: Path, weights: Path, system: str, *metrics: str) -> Summary:
    store = Store.at(str(tmp_path / "store"))
    request = Request("dreambench-mini", system, store, metrics=metrics, weights={"dino-vits16": str(weights)})
    return evaluate(prepare(request), LocalPool())


def whole(summary: Summary) -> dict[str, float]:
    return {one.metric: one.value for one in summary.results if not one.group}


def test_dino_of_copying_the_input_is_the_straight_line_number(
    tmp_path: Path, weights: Path, embeddings: Embeddings
) -> None:
    by_subject = [np.mean([photographs[0] @ one for one in photographs]) for photographs in embeddings.values()]
    summary = run(tmp_path, weights, "copy_input", "dino")
    assert whole(summary)["dino"] == pytest.approx(np.mean(by_subject), abs=1e-5)
    assert summary.results[0].scored == 300
    assert not summary.results[0].known_weights, "random weights are not the published ones, and are marked"


def test_the_oracles_four_readings_are_the_straight_line_numbers(
    tmp_path: Path, weights: Path, embeddings: Embeddings
) -> None:
    distinct = [[a @ b for a, b in itertools.combinations(vectors, 2)] for vectors in embeddings.values()]
    selves = [[a @ b for a, b in itertools.product(vectors, repeat=2)] for vectors in embeddings.values()]
    summary = run(tmp_path, weights, "oracle", "dino", "dino_distinct_micro", "dino_self_macro", "dino_self_micro")
    assert whole(summary) == pytest.approx(
        {
            "dino": np.mean([np.mean(pairs) for pairs in distinct]),
            "dino_distinct_micro": np.mean(list(itertools.chain(*distinct))),
            "dino_self_macro": np.mean([np.mean(pairs) for pairs in selves]),
            "dino_self_micro": np.mean(list(itertools.chain(*selves))),
        },
        abs=1e-5,
    )
    assert len(set(whole(summary).values())) == 4
