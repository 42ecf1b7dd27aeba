from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import identity
from harness.nouns import Case, Media, Run, Turn

RUN = Run("suite", 1, "data", "system", 1, "code", "weights", 0, {"steps": "10"})


def test_a_files_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"abc")
    assert identity.digest_file(file) == hashlib.sha256(b"abc").hexdigest()


def test_a_large_file_that_is_overwritten_in_place_has_another_digest(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    digests = []
    for byte in (b"a", b"b"):
        file.write_bytes(byte * identity.CACHED_FROM_BYTES)
        digests.append(identity.digest_file(file))
        assert identity.digest_file(file) == digests[-1] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert digests[0] != digests[1]


def test_a_folders_digest_changes_with_a_byte_a_name_or_a_file_and_not_with_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = identity.digest_tree(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "y").write_text("2")
    assert identity.digest_tree(tmp_path) == first
    (tmp_path / "a" / "x").write_text("3")
    second = identity.digest_tree(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "z")
    third = identity.digest_tree(tmp_path)
    (tmp_path / "b").write_text("4")
    assert len({first, second, third, identity.digest_tree(tmp_path)}) == 4


def test_every_field_of_a_run_is_part_of_its_name() -> None:
    changes = {
        "suite": "other", "version": 2, "data": "d", "system": "s", "system_version": 2, "code": "c", "weights": "w",
        "seed": 1, "settings": {"steps": "11"},
    }  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(Run)}
    names = {identity.run_id(dataclasses.replace(RUN, **{name: value})) for name, value in changes.items()}
    assert len(names | {identity.run_id(RUN)}) == len(changes) + 1


def test_the_digest_of_cases_knows_what_they_say_and_not_where_their_files_lie() -> None:
    def case(uri: str, digest: str, text: str) -> Case:
        turn = Turn((Media("image", uri=uri, digest=digest),), ("image",), {"prompt": (Media("text", text=text),)})
        return Case("c", (turn,))

    here = identity.digest_cases([case("/here/a.png", "d", "x")])
    assert identity.digest_cases([case("/there/a.png", "d", "x")]) == here
    assert identity.digest_cases([case("/here/a.png", "e", "x")]) != here
    assert identity.digest_cases([case("/here/a.png", "d", "y")]) != here


@given(st.integers(0, 2**31), st.text(min_size=1), st.integers(0, 1000))
def test_a_seed_is_a_function_of_run_seed_case_and_sample_and_fits_in_63_bits(
    seed: int, case: str, sample: int
) -> None:
    value = identity.sample_seed(seed, case, sample)
    assert 0 <= value < 2**63
    assert value == identity.sample_seed(seed, case, sample)
    assert value != identity.sample_seed(seed, case, sample + 1)
    assert value != identity.sample_seed(seed + 1, case, sample)


def test_the_digest_of_code_knows_what_the_module_imports_of_its_own_package_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ourown"
    (package / "deep").mkdir(parents=True)
    (package / "inner").mkdir()
    files = {
        "__init__.py": "TABLE = {}\n",
        "system.py": "import json\nfrom ourown.parts import helper\nfrom ourown import other\nfrom .deep import low\n",
        "parts.py": "from ourown.inner.net import net\nhelper = 1\n",
        "other.py": "other = 1\n",
        "stranger.py": "raise RuntimeError('never imported')\n",
        "deep/__init__.py": "",
        "deep/low.py": "low = 1\nraise RuntimeError('read, not run')\n",
        "inner/__init__.py": "SCALE = 1\n",
        "inner/net.py": "net = 1\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = identity.digest_code("ourown.system:System")
    changes = {name: identity_after(package / name, "ourown.system:System") != before for name in files}
    assert changes == {
        "__init__.py": False, "system.py": True, "parts.py": True, "other.py": True, "stranger.py": False,
        "deep/__init__.py": True, "deep/low.py": True, "inner/__init__.py": True, "inner/net.py": True,
    }  # fmt: skip


def identity_after(file: Path, target: str) -> str:
    """The digest of the code with one more comment in a file."""
    text = file.read_text()
    file.write_text(f"{text}# changed\n")
    try:
        return identity.digest_code(target)
    finally:
        file.write_text(text)
