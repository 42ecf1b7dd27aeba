"""Who works on a run of a store that is a URL: a file that its holder keeps changing.

A newcomer watches the file by its own monotonic clock, and takes it over only when it has not changed for a while. No
time is ever written down or compared, so clocks that differ or jump do no harm. What a lease saves is work: rows carry
their keys and count once, so that two holders, for as long as the first has not noticed, damage nothing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import uuid
from typing import Protocol

from harness.errors import StoreError, warn

RENEWAL_SECONDS = 5.0
# Several renewals, and a request that hangs (harness.remote.READ_SECONDS) and is asked again, cost no run its lease.
PATIENCE_SECONDS = 60.0


class Files(Protocol):
    """What a lease needs of a store; StoreError for what cannot be done."""

    def path(self, name: str) -> str:
        """The full URL of a file."""
        ...

    def find(self, name: str) -> bytes | None:
        """The bytes of a file, None when it is not there."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; False when it is."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in place of what is there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file."""
        ...


class Lease:
    """One file `name` of a store, held from `take` to `release` and renewed by a thread in between."""

    def __init__(self, files: Files, name: str) -> None:
        self.files, self.name = files, name
        self.token, self.renewals = uuid.uuid4().hex, 0
        self.lost, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._keep, name=f"lease of {name}", daemon=True)

    def take(self) -> None:
        """Hold the file; waits for a holder that may be dead, StoreError when it is not."""
        while (there := self.files.find(self.name)) is not None or not self.files.create(self.name, self._line()):
            self._outwait(there)
        self.thread.start()

    def check(self) -> None:
        """StoreError once another process has taken the file over."""
        if self.lost.is_set():
            raise StoreError(
                f"{self.files.path(self.name)}: this process was silent for so long that another has taken the run "
                "over; nothing stored is lost: when the other has ended, run the same line again"
            )

    def release(self) -> None:
        """Let go, where it is still held."""
        self.over.set()
        self.thread.join(RENEWAL_SECONDS)
        # A lease that cannot be removed is outwaited by the next.
        with contextlib.suppress(StoreError):
            if self._is_ours():
                self.files.remove(self.name)

    def _outwait(self, first: bytes | None) -> None:
        """Return when the file is gone, or has not changed for long and was removed; StoreError when it changes."""
        since = time.monotonic()
        if first is not None:
            warn(f"{self.files.path(self.name)}: {_holder(first)} had this run; looking whether it still works on it")
        while first is not None:
            time.sleep(RENEWAL_SECONDS / 5)
            waited = time.monotonic() - since
            now = self.files.find(self.name)
            if now is None:
                return
            if now != first:
                raise StoreError(
                    f"{self.files.path(self.name)}: another process is working on this run, {_holder(now)}; "
                    "wait for it, or end it first"
                )
            if waited > PATIENCE_SECONDS:
                self.files.remove(self.name)
                return

    def _keep(self) -> None:
        while not self.over.wait(RENEWAL_SECONDS) and not self.lost.is_set():
            # A store out of reach is the work's own error; the lease may outlive it.
            with contextlib.suppress(StoreError):
                self._renew()

    def _renew(self) -> None:
        if not self._is_ours():
            self.lost.set()
            return
        self.renewals += 1
        self.files.write(self.name, self._line())

    def _is_ours(self) -> bool:
        return (self.files.find(self.name) or b"").startswith(self.token.encode())

    def _line(self) -> bytes:
        return f"{self.token} {self.renewals} process {os.getpid()} on {platform.node()}\n".encode()


def _holder(line: bytes) -> str:
    """ "process 12 on node-3" of a lease's line."""
    return " ".join(line.decode(errors="replace").split()[2:]) or "another process"
