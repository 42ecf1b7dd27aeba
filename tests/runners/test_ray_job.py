"""`ray job submit` against nodes of this machine, for real, with the command lines of docs/on-a-cluster.md."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from pages import REPOSITORY, Command, Follower, blocks, commands

PAGE = REPOSITORY / "docs/on-a-cluster.md"
MANIFEST = REPOSITORY / "docs/kuberay-rayjob.yaml"
# What two nodes on one machine need beyond what the page says.
OWN = ("--block", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--disable-usage-stats")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def typed(start: str) -> str:
    """The first command on the page that begins so."""
    return next(command.typed for command in page() if command.typed.startswith(start))


def page() -> list[Command]:
    return [command for block in blocks(PAGE) if block.language == "console" for command in commands(block)]


@contextmanager
def node(line: str, environment: Mapping[str, str], *flags: str) -> Iterator[None]:
    """A node that `ray start` starts, for as long as the block runs."""
    log = Path(environment["HOME"]) / "log"
    with log.open("a") as file:
        command = [*shlex.split(line), *OWN, *flags]
        started = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.fixture
def cluster() -> Iterator[Mapping[str, str]]:
    """A head node with a token of its own; the environment that reaches it."""
    gcs, dashboard, agent, client = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:  # Ray's socket paths must be short
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}:{own['PATH']}"
        environment = {**own, "PATH": path, "HOME": folder, "RAY_AUTH_MODE": "token"}
        subprocess.run(["bash", "-c", typed("ray get-auth-token")], env=environment, check=True, capture_output=True)
        flags = [f"--temp-dir={folder}/ray", f"--port={gcs}", f"--dashboard-port={dashboard}"]
        flags += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
        try:
            with node(typed("ray start --head"), environment, *flags):
                wait_for(dashboard)
                yield {
                    **environment,
                    "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
                    "HEAD": f"127.0.0.1:{gcs}",
                }
        finally:
            subprocess.run(["pkill", "-KILL", "-f", f"{folder}/"], check=False)


def wait_for_nodes(count: int, cluster: Mapping[str, str]) -> None:
    deadline, said = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        command = ["ray", "status", "--address", cluster["HEAD"]]
        said = subprocess.run(command, env=dict(cluster), capture_output=True, text=True, timeout=60).stdout
        if said.count(" 1 node_") == count:
            return
    raise TimeoutError(f"not {count} nodes: {said}")


def here(text: str, cluster: Mapping[str, str], store: Path) -> str:
    """What the page says, with this test's own ports and folder."""
    dashboard = cluster["RAY_API_SERVER_ADDRESS"].removeprefix("http://")
    places = {"head:8265": dashboard, "head:6379": cluster["HEAD"], "/shared/results": str(store)}
    for name, place in places.items():
        text = text.replace(name, place)
    return text


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens at port {port}")


@pytest.mark.ray
def test_a_submitted_job_leaves_outputs_scores_and_mlflow_where_the_user_said(
    cluster: Mapping[str, str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command = shlex.split(here(typed("ray job submit"), cluster, store))
    done = subprocess.run(command, env=dict(cluster), cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"run"')))
    assert said["complete"] is True
    folder = store / "runs" / said["run"]
    assert json.loads((folder / "summary.json").read_text())["generated"] == 300
    assert len(list((folder / "media").iterdir())) == 3, "copies of three first photographs, each kept once"
    assert (store / "mlflow.db").exists(), done.stdout


@pytest.mark.ray
@pytest.mark.heavy
def test_whoever_follows_the_page_sees_what_it_shows(cluster: Mapping[str, str], tmp_path: Path) -> None:
    store, environment = tmp_path / "store", {**cluster, "COLUMNS": "120"}
    del environment["RAY_API_SERVER_ADDRESS"], environment["RAY_AUTH_MODE"]
    follower = Follower(REPOSITORY, environment)
    second = here(typed("ray start --address"), cluster, store)
    # A folder of its own: of two nodes that share one, the first to be done with a job removes its code for both.
    flags = (f"--temp-dir={cluster['HOME']}/other", f"--dashboard-agent-listen-port={free_ports(1)[0]}")
    with node(second, cluster, *flags):
        wait_for_nodes(2, cluster)
        for command in page():
            words = here(command.typed, cluster, store)
            if words.startswith("export "):
                environment.update(word.split("=", 1) for word in shlex.split(words)[1:])
            elif not words.startswith(("ray start", "ray get-auth-token")):
                follower.run(Command(words, here(command.shown, cluster, store)))


@pytest.mark.ray
@pytest.mark.heavy
def test_the_entrypoint_of_the_kubernetes_manifest_runs_from_where_the_image_has_the_code(
    cluster: Mapping[str, str], tmp_path: Path
) -> None:
    """As the operator submits it, without a working directory; the system is one that needs no weights."""
    job = yaml.safe_load(MANIFEST.read_text())["spec"]
    heavy = "dreambench --system diffusers --checkpoint org/name --data /shared/data"
    assert heavy in job["entrypoint"]
    light = job["entrypoint"].replace(heavy, "dreambench-mini --system copy_input --metrics color_hist --limit 2")
    variables = yaml.safe_load(job["runtimeEnvYAML"])

    def in_this_image(text: str) -> str:
        return text.replace("/opt/anybench", str(REPOSITORY)).replace("/shared", str(tmp_path))

    command = ["ray", "job", "submit", "--runtime-env-json", in_this_image(json.dumps(variables)), "--"]
    command += shlex.split(in_this_image(light))
    done = subprocess.run(command, env=dict(cluster), cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "results/runs").glob("*/summary.json"))) == 1


@pytest.mark.ray
def test_a_cluster_is_joined_from_outside_and_gets_our_code(cluster: Mapping[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runners.cli", "run", "dreambench-mini", "--system", "copy_input", "--limit", "4"]
    command += ["--metrics", "color_hist", "--store", str(tmp_path / "store"), "--address", cluster["HEAD"], "--json"]
    done = subprocess.run(command, env=dict(cluster), cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["failed"] == 0
