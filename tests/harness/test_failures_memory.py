"""Ray's memory monitor, provoked: in a file of its own, for it needs a Ray with other settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from failing_toys import TOY, Errand, Errands

from harness.pool import Batch
from harness.ray_pool import RayPool


@pytest.mark.ray
@pytest.mark.heavy
def test_a_worker_that_rays_own_monitor_kills_for_memory_blames_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray kills when the node is 4 GB above where it is now (others on this machine move too), and the toy takes 7."""
    from ray._private.utils import get_system_memory, get_used_memory

    if get_system_memory() - get_used_memory() < 12 * 10**9:
        pytest.skip("less than 12 GB are free")
    threshold = (get_used_memory() + 4 * 10**9) / get_system_memory()
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{threshold:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    (tmp_path / "journal").touch()
    errands = (Errand(7, "grow", times=1, company=2), Errand(1, seconds=15), Errand(2))
    pool = RayPool(workers=2)
    try:
        batches = [Batch(number, (errand,)) for number, errand in enumerate(errands)]
        outcomes = list(pool.map(Errands(str(tmp_path / "journal")), batches, TOY))
    finally:
        pool.close()
    assert [one.lost for one in outcomes] == ["", "", ""]
    assert sorted(row for one in outcomes for row in one.rows) == [2, 4, 14]
    assert capsys.readouterr().err.count("this stage goes on with 1 workers") == 1
