"""State dicts by the released code's names as checkpoints: what is kept, what is left out, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import UsageError
from harness.media import decode
from harness.nouns import Case, Item, Media, Turn
from runners.convert_codi2 import main
from systems.codi2 import convert as converting
from systems.codi2.backbones import digest_backbone
from systems.codi2.checkpoint import TENSORS, check, image_tokens, read_adapters, read_checkpoint
from systems.codi2.convert import Sources, convert
from systems.codi2.description import FILE
from systems.codi2.sizes import TINY, imagebind
from systems.codi2.system import CoDi2
from systems.imagebind.loading import save as save_imagebind

LLAMA = "llama_model.base_model.model"


@pytest.fixture
def state(codi2_tiny: Path) -> dict[str, Tensor]:
    """What the released class would save: the adapters under its names, and frozen weights beside them."""
    state = {}
    for key, tensor in load_file(codi2_tiny / TENSORS).items():
        part, _, rest = key.partition(".")
        match part:
            case "lora":
                state[f"{LLAMA}.{rest.replace('.weight', '.default.weight')}"] = tensor
            case "input_projector":
                state[f"codi_llama_proj.{rest}"] = tensor
            case "output_projector":
                state[f"codi_llama_decode.{rest}"] = tensor
    frozen = (
        "imagebind.modality_heads.vision.2.weight",
        "image_diffuser.model.diffusion_model.out.2.bias",
        "image_diffuser.noise_augmentor.betas",
        f"{LLAMA}.model.embed_tokens.weight",
        f"{LLAMA}.model.norm.weight",
        f"{LLAMA}.lm_head.weight",
        f"{LLAMA}.model.layers.0.input_layernorm.weight",
        f"{LLAMA}.model.layers.31.post_attention_layernorm.weight",
        f"{LLAMA}.model.layers.0.mlp.gate_proj.weight",
        f"{LLAMA}.model.layers.0.self_attn.q_proj.weight",
        f"{LLAMA}.model.layers.0.self_attn.o_proj.base_layer.weight",
        f"{LLAMA}.model.layers.0.self_attn.rotary_emb.inv_freq",
    )
    return state | {name: torch.ones(3) for name in frozen}


@pytest.fixture
def sources(codi2_tiny: Path) -> Sources:
    return Sources(*(str(codi2_tiny / name) for name in ("imagebind", "language_model", "image_decoder")))


def saved(state: Any, file: Path) -> Path:
    torch.save(state, file)
    return file


def safe(state: Mapping[str, Tensor], file: Path) -> Path:
    save_file(dict(state), file.with_suffix(".safetensors"))
    return file.with_suffix(".safetensors")


def prefixed(prefix: str) -> Callable[[Mapping[str, Tensor], Path], Path]:
    return lambda state, file: saved({f"{prefix}{key}": tensor for key, tensor in state.items()}, file)


def wrapped(name: str) -> Callable[[Mapping[str, Tensor], Path], Path]:
    return lambda state, file: saved({name: OrderedDict(state), "step": 7}, file)


def flattened(state: Mapping[str, Tensor], file: Path) -> Path:
    """As DeepSpeed keeps them: all of them views of one tensor."""
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    parts = flat.split([tensor.numel() for tensor in state.values()])
    views = {key: part.view_as(one) for (key, one), part in zip(state.items(), parts, strict=True)}
    return saved({"module": views}, file)


@pytest.mark.parametrize(
    "save",
    [
        saved,
        safe,
        prefixed("module."),
        prefixed("_forward_module.module."),
        wrapped("state_dict"),
        wrapped("model"),
        flattened,
    ],
)
def test_the_adapters_are_read_back_from_every_way_of_saving(
    state: dict[str, Tensor], sources: Sources, codi2_tiny: Path, tmp_path: Path, save: Any
) -> None:
    convert(save(state, tmp_path / "state.pt"), tmp_path / "made", sources, 16)
    check(str(tmp_path / "made"), [], 1)
    made, original = (read_adapters(read_checkpoint(folder)) for folder in (tmp_path / "made", codi2_tiny))
    for mine, theirs in (
        (made.lora, original.lora),
        (made.input_projector, original.input_projector),
        (made.output_projector, original.output_projector),
    ):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_the_tags_begin_as_the_mean_of_the_language_models_rows(
    state: dict[str, Tensor], sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "ROWS", 700)  # of 2,048: the last part is a short one
    convert(saved(state, tmp_path / "state.pt"), tmp_path / "made", sources, 16)
    made = read_adapters(read_checkpoint(tmp_path / "made"))
    llama = load_file(Path(sources.language_model) / "model.safetensors")
    for rows, key in ((made.input_embeddings, "model.embed_tokens.weight"), (made.output_embeddings, "lm_head.weight")):
        assert rows.shape == (6, 128)
        assert torch.allclose(rows, llama[key].mean(0).expand(6, -1), atol=1e-6)


def test_the_rows_are_found_in_any_shard(
    state: dict[str, Tensor], sources: Sources, codi2_tiny: Path, tmp_path: Path
) -> None:
    sharded = Path(shutil.copytree(codi2_tiny / "language_model", tmp_path / "sharded"))
    tensors = load_file(sharded / "model.safetensors")
    (sharded / "model.safetensors").unlink()
    head = {"lm_head.weight": tensors.pop("lm_head.weight")}
    save_file(tensors, sharded / "model-00001-of-00002.safetensors")
    save_file(head, sharded / "model-00002-of-00002.safetensors")
    asked = replace(sources, language_model=str(sharded))
    convert(saved(state, tmp_path / "state.pt"), tmp_path / "made", asked, 16)
    rows = read_adapters(read_checkpoint(tmp_path / "made")).output_embeddings
    assert torch.allclose(rows[0], head["lm_head.weight"].mean(0), atol=1e-6)


def test_the_description_says_rank_alpha_reading_and_where_the_backbones_are(
    state: dict[str, Tensor], sources: Sources, codi2_tiny: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    shutil.copytree(codi2_tiny / "imagebind", made / "imagebind")
    asked = replace(sources, imagebind=str(made / "imagebind"))
    convert(saved(state, tmp_path / "state.pt"), made, asked, 24)
    said = json.loads((made / FILE).read_text())
    assert said["lora"] == {"rank": 8, "alpha": 24}
    assert said["imagebind"] == {"source": "imagebind", "digest": ""}
    decoder = Path(sources.image_decoder)
    assert said["image_decoder"] == {"source": str(decoder), "digest": digest_backbone(decoder)}
    assert said["reading"] == {
        "image_tokens": 17,
        "input_norms": "released",
        "prompt_style": "human-assistant",
        "feedback": False,
        "feature_scale": 1.0,
    }
    assert not {"sound_decoder", "video_decoder"} & said.keys()


def test_half_precision_stays_what_it_is(state: dict[str, Tensor], sources: Sources, tmp_path: Path) -> None:
    halves = {key: tensor.half() for key, tensor in state.items()}
    convert(saved(halves, tmp_path / "state.pt"), tmp_path / "made", sources, 16)
    assert load_file(tmp_path / "made" / TENSORS)["input_projector.0.weight"].dtype == torch.float16


def test_a_random_sound_head_is_warned_of(
    state: dict[str, Tensor], sources: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state["imagebind.modality_heads.audio.3.weight"] = torch.ones(3)
    convert(saved(state, tmp_path / "state.pt"), tmp_path / "made", sources, 16)
    assert "its sound head has random weights" in capsys.readouterr().err


PROJECTION = "codi_llama_proj.3.weight"
LORA_A = f"{LLAMA}.model.layers.0.self_attn.q_proj.lora_A.default.weight"
LORA_B = f"{LLAMA}.model.layers.3.self_attn.o_proj.lora_B.default.weight"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vae_llama_proj.weight": torch.ones(2, 3)}, "1 unexpected (first: vae_llama_proj.weight (2, 3))"),
        ({f"{LLAMA}.model.layers.4.self_attn.q_proj.lora_A.default.weight": torch.ones(8, 128)}, "1 unexpected"),
        ({f"{LLAMA}.model.layers.0.mlp.up_proj.lora_A.default.weight": torch.ones(8, 128)}, "1 unexpected"),
        ({PROJECTION: None}, f"1 missing (first: {PROJECTION} (128, 128))"),
        ({LORA_B: None}, f"1 missing (first: {LORA_B} (128, 8))"),
        ({LORA_A: None}, f"{LORA_A} is not there"),
        ({LORA_B: torch.ones(128, 4)}, f"1 misshapen (first: {LORA_B} is (128, 4) where (128, 8) is expected)"),
        ({LORA_A: torch.ones(4, 128)}, "31 misshapen"),
        ({PROJECTION: torch.full((128, 128), float("nan"))}, f"{PROJECTION} holds NaN or infinity"),
        ({PROJECTION: torch.ones(128, 128, dtype=torch.int64)}, f"{PROJECTION} is no plain tensor"),
        ({PROJECTION: torch.ones(128, 128).to_sparse()}, f"{PROJECTION} is no plain tensor"),
        ({PROJECTION: 7}, f"{PROJECTION} is no plain tensor"),
        ({7: torch.ones(1)}, "no state dict"),
    ],
)
def test_what_a_checkpoint_cannot_be_made_of_is_named_and_nothing_is_written(
    state: dict[str, Any], sources: Sources, tmp_path: Path, changes: Mapping[str, Any], said: str
) -> None:
    changed = {key: value for key, value in (state | dict(changes)).items() if value is not None}
    file = saved(changed, tmp_path / "state.pt")
    with pytest.raises(UsageError) as caught:
        convert(file, tmp_path / "made", sources, 16)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


class Code:
    """Something that a pickle would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    "write",
    [
        lambda file: torch.save({"state_dict": {}, "args": Code()}, file),
        lambda file: file.write_bytes(pickle.dumps({"a": Code()})),
        lambda file: file.write_bytes(b"PK\x03\x04 and no more"),
        lambda file: file.write_bytes(b""),
        lambda file: torch.save([1, 2], file),
    ],
)
def test_files_that_are_no_state_dict_are_one_line_and_run_nothing(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "state.pt")
    with pytest.raises(UsageError, match=r"state\.pt: "):
        convert(tmp_path / "state.pt", tmp_path / "made", sources, 16)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_safetensors_file_is_one_line(state: dict[str, Tensor], sources: Sources, tmp_path: Path) -> None:
    file = safe(state, tmp_path / "state")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UsageError, match=r"state\.safetensors: no readable file of tensors"):
        convert(file, tmp_path / "made", sources, 16)


def test_a_checkpoint_is_not_written_over(codi2_tiny: Path, sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"codi2\.json is there already"):
        convert(tmp_path / "state.pt", codi2_tiny, sources, 16)


@pytest.fixture
def arguments(state: dict[str, Tensor], sources: Sources, tmp_path: Path) -> list[str]:
    backbones = [f"--{name.replace('_', '-')}={getattr(sources, name)}" for name in Sources.__slots__]
    return [str(saved(state, tmp_path / "state.pt")), str(tmp_path / "made"), *backbones]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "the following arguments are required: --lora-alpha"),
        (["--lora-alpha=much"], "invalid float value"),
        (["--lora-alpha=nan"], "alpha is nan; above 0"),
        (["--lora-alpha=-1"], "alpha is -1.0; above 0"),
        (["--lora-alpha=16", "--imagebind=nowhere.pth"], "nowhere.pth: no such file or folder"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line_and_ends_with_2(
    arguments: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *more]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize(("patch", "tokens"), [(8, 17), (2, 257)])
def test_all_vectors_of_a_picture_are_read_as_many_as_the_imagebind_has(
    state: dict[str, Tensor], sources: Sources, tmp_path: Path, patch: int, tokens: int
) -> None:
    assert TINY.imagebind.vision is not None
    vision = replace(TINY.imagebind.vision, patch=patch)
    save_imagebind(imagebind(replace(TINY, imagebind=replace(TINY.imagebind, vision=vision))), tmp_path / "imagebind")
    asked = replace(sources, imagebind=str(tmp_path / "imagebind"))
    convert(saved(state, tmp_path / "state.pt"), tmp_path / "made", asked, 16)
    assert read_checkpoint(tmp_path / "made").description.reading.image_tokens == tokens


def test_the_official_file_and_its_257_vectors_are_taken_where_no_config_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "imagebind_huge.pth").write_bytes(b"weights")
    assert image_tokens(tmp_path / "imagebind_huge.pth") == image_tokens(tmp_path) == 257


def test_the_script_makes_a_state_dict_a_checkpoint_that_answers(
    arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    script = [sys.executable, "runners/convert_codi2.py", *arguments, "--lora-alpha", "16"]
    done = subprocess.run(script, cwd=repository, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'made'}\n", "")
    check(str(tmp_path / "made"), [], 1)
    system = CoDi2(str(tmp_path / "made"), "cpu", steps=2, tags="forced", trace=True)
    Image.effect_noise((40, 40), 90).save(tmp_path / "seen.png")
    seen = Media("image", uri=str(tmp_path / "seen.png"))
    asked = [(seen, Media("text", text="in snow")), (seen, Media("text", text="in rain"))]
    cases = [Case(f"{number}", (Turn(inputs, ("image",)),)) for number, inputs in enumerate(asked)]
    outputs = [output for ((output,),) in system.generate([Item(case, 0, 7) for case in cases])]
    for output in outputs:
        assert isinstance(output.data, bytes)
        assert decode(output.data, "an answer").size == (64, 64)
        assert output.modality == "image" and "nan" not in output.flags
    assert outputs[0].trace != outputs[1].trace
    with pytest.raises(UsageError, match=r"wants audio, and the checkpoint's codi2\.json names no sound_decoder"):
        system.generate([Item(Case("bell", (Turn((seen,), ("audio",)),)), 0, 7)])
