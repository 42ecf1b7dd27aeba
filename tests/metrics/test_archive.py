"""TorchScript archives: their tensors, and never their code."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch

from harness.errors import UsageError
from metrics.extractors.archive import ArchiveError, read_tensors
from metrics.extractors.checkpoint import read_checkpoint


class Nested(torch.nn.Module):
    """Modules in modules, a buffer, half precision, and a tensor that is a part of its storage."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2).half())
        self.register_buffer("resolution", torch.tensor(224))
        self.part = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4).T[1:3])
        self.names = ["a", "b"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "nested.pt").write_bytes(hostile.torchscript(Nested()))
    return tmp_path / "nested.pt"


def test_the_tensors_are_those_that_torch_reads(archive: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(str(archive)).state_dict()
    found = read_tensors(archive)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in found)


def test_the_code_of_an_archive_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("setter.pt").write_bytes(hostile.torchscript(hostile.Setter()))
    Path(hostile.MARKER).unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load("setter.pt")
    assert Path(hostile.MARKER).exists(), "the archive does what it is meant to do, where it is let"
    Path(hostile.MARKER).unlink()
    with pytest.raises(UsageError, match=r"setter\.pt: .*made by its own code, which is never run"):
        read_checkpoint(Path("setter.pt"), {})
    assert not Path(hostile.MARKER).exists()


def rewritten(archive: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive with its records changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    archive.write_bytes(buffer.getvalue())
    return archive


def test_a_packed_archive_is_refused_before_it_is_unpacked(archive: Path) -> None:
    bomb = rewritten(archive, lambda name, data: bytes(1 << 22) if "/data/" in name else data, zipfile.ZIP_DEFLATED)
    with pytest.raises(ArchiveError, match="compressed, or overlap"):
        read_tensors(bomb)
    plain = bomb.with_name("plain.pth")
    plain.write_bytes(hostile.packed(hostile.torch_file({"a": torch.zeros(1 << 20)})))
    with pytest.raises(UsageError, match=r"plain\.pth: .*compressed, or overlap"):
        read_checkpoint(plain, {})


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(archive: Path) -> None:
    short = rewritten(archive, lambda name, data: data[: len(data) // 8 * 4] if "/data/" in name else data)
    with pytest.raises(ArchiveError, match="beyond its storage"):
        read_tensors(short)


def test_numbers_of_another_byte_order_are_refused(archive: Path) -> None:
    other = rewritten(archive, lambda name, data: b"big" if name.endswith("byteorder") else data)
    with pytest.raises(ArchiveError, match="big-endian"):
        read_tensors(other)


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.said = (call, arguments)

    def __reduce__(self) -> Any:
        return self.said


@pytest.mark.parametrize(
    "content", [Calls(os.system, "touch pwned"), Calls(eval, "open('pwned', 'w')"), [1], {"a": 1}, Calls(bytearray, 9)]
)
def test_a_description_that_calls_something_is_refused(
    archive: Path, content: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    evil = rewritten(archive, lambda name, data: pickle.dumps(content, 2) if name.endswith("/data.pkl") else data)
    with pytest.raises(ArchiveError, match=r"it holds a|it does not hold"):
        read_tensors(evil)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3).to(torch.float8_e4m3fn),
    ],
    ids=["sparse", "meta", "complex", "float8"],
)  # fmt: skip
def test_tensors_of_another_kind_are_refused_before_they_are_looked_at(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"weight": tensor}, tmp_path / "odd.pth")
    with pytest.raises(UsageError, match=r"odd\.pth: "):
        read_checkpoint(tmp_path / "odd.pth", {})


def test_keys_that_are_no_names_are_refused(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(3)}, tmp_path / "numbered.pth")
    with pytest.raises(UsageError, match="not a dictionary of plain tensors"):
        read_checkpoint(tmp_path / "numbered.pth", {})


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", '{"text_config": 3}', "[" * 100_000, "9" * 5000, '{"vision_config": []}']
)
def test_a_config_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json: "):
        read_checkpoint(tmp_path, {"text_config": {"hidden_act": "gelu"}})
