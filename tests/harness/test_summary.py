"""A run is found by what people have at hand: its id, the beginning of it, or the path that was printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store import Store, StoreError
from harness.summary import run_folder


@pytest.mark.parametrize("name", ["toy-one-abc", "toy-one", "runs/toy-one-abc", "{store}/runs/toy-one-abc/"])
def test_a_run_is_found_by_id_beginning_and_path(tmp_path: Path, name: str) -> None:
    store = Store.at(str(tmp_path))
    for run in ("toy-one-abc", "toy-two-def"):
        store.write(f"runs/{run}/run.json", b"{}")
    assert run_folder(store, name.format(store=tmp_path)) == "runs/toy-one-abc"
    with pytest.raises(StoreError, match="2 runs fit 'toy'"):
        run_folder(store, "toy")
