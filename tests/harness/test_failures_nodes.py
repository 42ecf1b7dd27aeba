"""Nodes that leave and join while there is work: raylets of this machine, each taken for a node by Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from failing_toys import TOY, Errand, Errands

from harness.pool import Batch, Outcome
from harness.ray_pool import RayPool

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that has no room for workers, and whatever nodes a test adds."""
    from ray._private.authentication.authentication_token_setup import (
        enable_token_auth_by_default,
        ensure_token_if_auth_enabled,
    )
    from ray.cluster_utils import Cluster

    # As a private Ray does by itself; nodes and driver that disagree on it do not talk to each other.
    enable_token_auth_by_default()
    ensure_token_if_auth_enabled(None, create_token_if_missing=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "toys"))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture
def pool(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayPool]:
    """A pool of as many workers as there is room for."""
    monkeypatch.setattr("harness.ray_crew.GROWTH_SECONDS", 0.5)
    monkeypatch.setattr("harness.ray_crew.TRIES_ALONE", 1)  # one death that counts loses an item
    pool = RayPool(cluster.address)
    yield pool
    pool.close()
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=True)


@pytest.fixture
def errands(tmp_path: Path) -> Errands:
    """The task, with a journal of its own."""
    (tmp_path / "journal").touch()
    return Errands(str(tmp_path / "journal"))


def batches(*found: Errand) -> list[Batch]:
    return [Batch(number, (errand,)) for number, errand in enumerate(found)]


def answers(outcomes: Sequence[Outcome]) -> list[int]:
    assert [one.lost for one in outcomes if one.lost] == []
    return sorted(row for one in outcomes for row in one.rows)


def test_a_node_that_joins_gets_work_and_one_that_is_lost_gives_its_batches_back(
    cluster: Any, pool: RayPool, errands: Errands, capsys: pytest.CaptureFixture[str]
) -> None:
    stays, goes, joins = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1), None
    outcomes = []
    for outcome in pool.map(errands, batches(*(Errand(number, seconds=1) for number in range(24))), TOY):
        outcomes.append(outcome)
        if joins is None and errands.nodes() == {stays.node_id, goes.node_id}:
            joins = cluster.add_node(num_cpus=1)
        if joins and joins.node_id in errands.nodes() and goes in cluster.worker_nodes:
            cluster.remove_node(goes, allow_graceful=False)
    assert answers(outcomes) == [2 * number for number in range(24)]
    assert goes not in cluster.worker_nodes, "three nodes were at work at once"
    assert capsys.readouterr().err.count(f"anybench: node {goes.node_id[:8]} is gone") == 1


@pytest.mark.heavy
def test_an_idle_worker_that_went_with_its_node_does_not_blame_the_batch_it_is_handed(
    cluster: Any, pool: RayPool, errands: Errands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.ray_crew.TRIES_ALONE", 2)  # the death of its own is the first
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1))}
    outcomes = []
    for outcome in pool.map(errands, batches(Errand(1, seconds=6), Errand(2, "die", times=1, seconds=12)), TOY):
        outcomes.append(outcome)
        [(_, _, idle)] = errands.lines(1)
        if len(outcomes) == 1:
            assert errands.nodes() == set(nodes), "the other is at work on the other node"
            cluster.remove_node(nodes[idle], allow_graceful=True)
    assert answers(outcomes) == [2, 4]


@pytest.mark.heavy
def test_an_item_that_takes_its_node_with_it_is_given_up_in_the_end(
    cluster: Any, pool: RayPool, errands: Errands
) -> None:
    for _ in range(6):
        cluster.add_node(num_cpus=1)
    outcomes = list(pool.map(errands, batches(Errand(1, "node"), Errand(2), Errand(3)), TOY))
    assert sorted(row for one in outcomes for row in one.rows) == [4, 6]
    assert [one.batch.items[0].number for one in outcomes if one.lost] == [1]
    assert len(errands.lines(1)) == 3 + 1, "excused three times"
