#!/usr/bin/env python3
"""The suites of the drawn world, as a Ray job or by hand: noise, doing nothing, a system, the truth, then leaderboards.

ray job submit --working-dir . -- python runners/tinyworld.py --system nearest_training --checkpoint WORLD --store DIR
python runners/tinyworld.py [tiny-dreambench|tiny-editing|...] --system NAME ...    (flags of `anybench run`)
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where its neighbours would shadow other packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import SUITES  # noqa: E402
from runners.with_baselines import run_each_with_baselines  # noqa: E402

if __name__ == "__main__":
    suites = [name for name in SUITES if name.startswith("tiny-")]
    sys.exit(run_each_with_baselines(suites, ("noise", "copy_input", "oracle"), sys.argv[1:]))
