"""Adding a metric takes one file and one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FILE = '''
"""Brightness: how near an output's share of dark colours is to that of the case's references."""

from harness.nouns import Metric, Need
from metrics.color import mean_intersection

BRIGHTNESS = Metric(
    name="brightness",
    version=1,
    level="sample",
    better="higher",
    range=(0.0, 1.0),
    needs={"output": Need("color-hist", ("output",)), "reference": Need("color-hist", ("reference",))},
    compute=lambda output, reference: mean_intersection(output, reference) ** 2,
)
'''


def test_a_new_metric_is_one_file_and_one_line(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "store", "build", "tests")
    shutil.copytree(repository, tree, ignore=ignored)
    (tree / "metrics/brightness.py").write_text(FILE)
    table = tree / "metrics/__init__.py"
    start = "METRICS: Mapping[str, str] = {\n"
    assert start in table.read_text()
    table.write_text(table.read_text().replace(start, start + '    "brightness": "metrics.brightness:BRIGHTNESS",\n'))
    command = [sys.executable, "-m", "runners.cli", "run", "dreambench-mini", "--system", "copy_input", "--limit", "1"]
    command += ["--metrics", "brightness", "--workers", "local", "--store", str(tmp_path / "store")]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "brightness ↑" in done.stdout
