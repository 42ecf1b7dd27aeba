"""The flags that say where the work is done."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.pool import LocalPool, Pool
from harness.ray_pool import TIMEOUT_SECONDS, RayPool
from runners import options


def pool(*given: str) -> Pool:
    parser = options.Parser(prog="anybench run")
    options.add_pool(parser)
    return options.pool_for(parser.parse_args(given))


def test_the_silence_that_a_worker_may_keep_is_configurable() -> None:
    assert pool() == RayPool(timeout=TIMEOUT_SECONDS)
    assert pool("--workers", "3", "--timeout", "90") == RayPool(workers=3, timeout=90)
    assert isinstance(pool("--workers", "local", "--timeout", "90"), LocalPool)


@pytest.mark.parametrize("given", ["0", "-1", "soon", "1.5", ""])
def test_a_silence_that_is_no_number_of_seconds_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=f"--timeout: '{given}' is not a whole number from 1"):
        pool(f"--timeout={given}")
