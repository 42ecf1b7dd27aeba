"""Parquet files that hold the digest of their own bytes: for those whose name cannot be it.

Pages have checksums and the footer has none: a flipped place in it makes the pages of one column read as another's.
Anything that reads Parquet reads a sealed file; the seal is one more entry of its key-value metadata.
"""

from __future__ import annotations

import io
import re

import pyarrow as pa
import pyarrow.parquet as pq

from harness.identity import digest_bytes

KEY = "anybench-seal"
# What stands for the digest while it is taken.
OPEN = b"sha256:" + b"0" * 64
_SEAL = re.compile(rb"sha256:[0-9a-f]{64}")


def parquet(rows: pa.Table, sealed: bool = False) -> bytes:
    """Rows as a Parquet file, the same for the same rows; its pages have checksums."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, rows.schema, write_page_checksum=True) as writer:
        writer.write_table(rows)
        if sealed:
            writer.add_key_value_metadata({KEY: OPEN.decode()})
    data = buffer.getvalue()
    return data.replace(OPEN, _seal(data)) if sealed else data


def seal_holds(data: bytes) -> bool:
    """Whether these are the bytes that were sealed; true of a file without a seal."""
    if KEY.encode() not in data:
        return True
    return any(_seal(data.replace(seal, OPEN)) == seal for seal in _SEAL.findall(data)[-1:])


def _seal(data: bytes) -> bytes:
    return b"sha256:" + digest_bytes(data).encode()
