"""Stores behind a URL: how fsspec is asked for one, and what its backends mean by what they raise.

A backend takes its endpoint and credentials from the field's own variables: S3 from AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE and so on, the others from theirs.
"""

from __future__ import annotations

import errno
import os
from typing import Any

import fsspec

from harness.errors import one_line

# By its own defaults S3 is given a minute to accept a connection, five times over.
CONNECT_SECONDS = 5
READ_SECONDS = 30
ATTEMPTS = 3

# S3's ways to say that a file which was to be created is there, or is just being created by somebody else.
EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def filesystem(url: str) -> Any:
    """The fsspec filesystem of a folder or URL; ImportError or ValueError where there is no backend for it."""
    return fsspec.core.url_to_fs(url, **options(url))[0]


def options(url: str) -> dict[str, Any]:
    """What fsspec is told of a URL's backend: to look anew each time, one request a read, and bounded patience.

    AWS_MAX_ATTEMPTS and AWS_RETRY_MODE are obeyed where they are set.
    """
    if not url.startswith(("s3://", "s3a://")):
        return {}
    config: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
        config["retries"] = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    return {"use_listings_cache": False, "max_concurrency": 1, "config_kwargs": config}


def reason(error: BaseException) -> str:
    """What a filesystem's error says, in one line."""
    if isinstance(error, FileNotFoundError) and not bucket_is_absent(error):
        return "no such file"
    return (error.strerror if isinstance(error, OSError) else "") or one_line(error)


def bucket_is_absent(error: BaseException) -> bool:
    """Whether a FileNotFoundError of S3 is about the whole bucket."""
    return _code(error) == "NoSuchBucket"


def exists_already(error: OSError) -> bool:
    """Whether a file was not created because it is there; some S3 servers say it in words of their own."""
    return isinstance(error, FileExistsError) or _code(error) in EXISTS


def cannot_tell(error: OSError) -> bool:
    """Whether the backend cannot create a file only where there is none."""
    return error.errno == errno.ENOSYS


def _code(error: BaseException) -> str:
    """The code with which S3 answered, "" for errors of others."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
