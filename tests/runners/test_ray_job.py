"""`ray job submit` against a head node of this machine, for real."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RAY = Path(sys.executable).parent / "ray"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture
def cluster() -> Iterator[Mapping[str, str]]:
    """A head node with a token of its own; the environment that reaches it."""
    gcs, dashboard, agent, client = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:  # Ray's socket paths must be short
        token = Path(folder) / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2"]
        command += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--ray-client-server-port={client}", f"--temp-dir={folder}/ray", "--disable-usage-stats"]
        with open(f"{folder}/log", "w") as log:
            head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(dashboard)
            yield {
                **environment,
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
                "HEAD": f"127.0.0.1:{gcs}",
            }
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
            subprocess.run(["pkill", "-KILL", "-f", f"{folder}/ray"], check=False)


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
    command = [RAY, "job", "submit", "--working-dir", ".", "--", "python", "runners/dreambench.py", "dreambench-mini"]
    command += ["--system", "copy_input", "--metrics", "color_hist", "--store", store, "--json"]
    done = subprocess.run(
        [*map(str, command)], env=dict(cluster), cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"run"')))
    assert said["complete"] is True
    folder = store / "runs" / said["run"]
    assert json.loads((folder / "summary.json").read_text())["generated"] == 300
    assert len(list((folder / "media").iterdir())) == 3, "copies of three first photographs, each kept once"
    assert (store / "mlflow.db").exists()


@pytest.mark.ray
def test_a_cluster_is_joined_from_outside_and_gets_our_code(cluster: Mapping[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runners.cli", "run", "dreambench-mini", "--system", "copy_input", "--limit", "4"]
    command += ["--metrics", "color_hist", "--store", str(tmp_path / "store"), "--address", cluster["HEAD"], "--json"]
    done = subprocess.run(command, env=dict(cluster), cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["failed"] == 0
