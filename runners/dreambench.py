#!/usr/bin/env python3
"""DreamBench, as a Ray job or by hand; takes the flags of `anybench run`.

ray job submit --working-dir . -- python runners/dreambench.py --system copy_input --data DIR --store DIR
python runners/dreambench.py [dreambench|dreambench-single|dreambench-mini] --system NAME ...
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where its neighbours would shadow other packages.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from runners.cli import main  # noqa: E402

if __name__ == "__main__":
    given = sys.argv[1:]
    suite = [] if given and not given[0].startswith("-") else ["dreambench"]
    sys.exit(main(["run", *suite, *given]))
