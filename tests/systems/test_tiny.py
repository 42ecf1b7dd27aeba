"""The tiny checkpoints: whole pipelines in the hub's format, the same bytes for the same seed, CLIP's own tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from transformers import CLIPTokenizer

from harness.errors import UsageError
from harness.names import load
from systems import CHECKPOINTS
from systems.tiny import pipelines as tiny

# diffusers 0.42 converts torch tensors in its Euler schedulers in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
PIPELINES = [name for name, target in CHECKPOINTS.items() if target.startswith("systems.tiny")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_weights(name: str, tmp_path: Path) -> None:
    for folder, seed in (("first", 3), ("second", 3), ("third", 4)):
        load(CHECKPOINTS[name])(tmp_path / folder, seed)
    first, second, third = (contents(tmp_path / folder) for folder in ("first", "second", "third"))
    assert first == second
    assert {path for path in first if first[path] != third[path]} >= {"unet/diffusion_pytorch_model.safetensors"}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_tiny_checkpoint_is_small_and_all_safetensors(name: str, tmp_path: Path) -> None:
    load(CHECKPOINTS[name])(tmp_path / "checkpoint", 0)
    files = contents(tmp_path / "checkpoint")
    assert sum(map(len, files.values())) < 2_000_000
    assert {Path(file).suffix for file in files} == {".json", ".safetensors"}
    assert json.loads(files["model_index.json"])["_class_name"].endswith("Pipeline")


def test_writing_leaves_the_random_numbers_of_the_caller_alone(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    tiny.stable_diffusion(tmp_path / "checkpoint", 0)
    assert torch.equal(torch.rand(3), expected)


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        tiny.stable_diffusion(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPTokenizer, SimpleTokenizer]:
    """Ours as it is read back from the checkpoint, and open_clip's own given the same merges."""
    folder = tmp_path_factory.mktemp("tokenizers")
    tiny.stable_diffusion(folder / "checkpoint", 0)
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as full:
        lines = [next(full) for _ in range(tiny.MERGES + 1)]
    with gzip.open(folder / "merges.txt.gz", "wt", encoding="utf-8") as short:
        short.write("".join(lines).rstrip("\n"))
    ours = CLIPTokenizer.from_pretrained(folder / "checkpoint" / "tokenizer", local_files_only=True)
    return ours, SimpleTokenizer(str(folder / "merges.txt.gz"))


PROMPTS = ("a dog6 in the jungle", "An OIL painting, of a café — 2 cats' paws!!", "狗 in Tokyo 🐶", "")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_tokenise_as_in_open_clip(prompt: str, tokenizers: tuple[CLIPTokenizer, SimpleTokenizer]) -> None:
    ours, reference = tokenizers
    padded = reference(prompt, context_length=77)[0]
    length = int(padded.argmax()) + 1
    assert ours(prompt).input_ids == padded[:length].tolist()


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
def test_words_of_printable_ascii_tokenise_as_in_open_clip(
    tokenizers: tuple[CLIPTokenizer, SimpleTokenizer], word: str
) -> None:
    ours, reference = tokenizers
    # open_clip first undoes HTML escapes, which is a matter of cleaning text and not of the vocabulary.
    text = word.replace("&", "").replace("<", "")
    assert ours(text, add_special_tokens=False).input_ids == reference.encode(text)


def test_the_vocabulary_is_as_large_as_the_text_encoder_says(tmp_path: Path) -> None:
    tiny.stable_diffusion(tmp_path / "checkpoint", 0)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "checkpoint" / "tokenizer", local_files_only=True)
    said = json.loads((tmp_path / "checkpoint" / "text_encoder" / "config.json").read_text())
    assert len(tokenizer) == said["vocab_size"] == 2 * 256 + tiny.MERGES + 2
    assert (tokenizer.eos_token_id, tokenizer.model_max_length) == (said["eos_token_id"], 77)
