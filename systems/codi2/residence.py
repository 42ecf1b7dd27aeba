"""Which parts of a system are on its device, where memory is too short for all of them.

Parts wait on the CPU and are brought when they are needed; those used least recently make room. What is counted is
parameters and buffers: what the parts compute with (activations, caches) comes on top, so `memory_gb` is to be set
below what the device has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

from torch import nn

from harness.errors import UsageError

GIB = 2**30


class Residence:
    """Parts that share no tensor, by name, and the device that they work on ("cpu", "cuda").

    `memory_gb` is how many GiB of weights the device may hold at once; 0 sets no limit. Where all parts fit, they are
    moved there at once and stay. Raises UsageError for a part that is larger by itself.
    """

    def __init__(self, parts: Mapping[str, nn.Module], device: str, memory_gb: float = 0.0) -> None:
        if not memory_gb >= 0:
            raise UsageError(f"memory_gb={memory_gb:g}: must be at least 0, and 0 sets no limit")
        self._parts = dict(parts)
        self._sizes = {name: size_of(part) for name, part in parts.items()}
        self._device = device
        self._limit = memory_gb * GIB if memory_gb else float("inf")
        self._in_use: list[str] = []
        # Those that were used and are still there, the least recent first.
        self._resident: list[str] = []
        self._refuse_larger_than_limit(memory_gb)
        all_fit = sum(self._sizes.values()) <= self._limit
        for part in self._parts.values():
            part.to(device if all_fit else "cpu")

    @contextmanager
    def on_device(self, name: str) -> Iterator[None]:
        """While this is open, the part is on the device; other parts are moved to the CPU where room must be made.

        May be nested: parts that are in use are never moved. Raises UsageError where they do not fit together.
        """
        self._bring(name)
        self._in_use.append(name)
        try:
            yield
        finally:
            self._in_use.remove(name)

    def _bring(self, name: str) -> None:
        if name in self._resident:
            self._resident.remove(name)
        else:
            self._make_room(name)
            self._parts[name].to(self._device)
        self._resident.append(name)

    def _make_room(self, name: str) -> None:
        while self._held() + self._sizes[name] > self._limit:
            idle = next((other for other in self._resident if other not in self._in_use), None)
            if idle is None:
                together = self._held() + self._sizes[name]
                raise UsageError(
                    f"memory_gb={self._limit / GIB:g}: {name} is needed beside {', '.join(self._resident)}, which is "
                    f"{together / GIB:.2f} GiB of weights; set memory_gb higher, or 0 for no limit"
                )
            # In this order: what Ctrl-C leaves half moved is brought whole when it is needed.
            self._resident.remove(idle)
            self._parts[idle].to("cpu")

    def _held(self) -> int:
        return sum(self._sizes[name] for name in self._resident)

    def _refuse_larger_than_limit(self, memory_gb: float) -> None:
        for name, size in self._sizes.items():
            if size > self._limit:
                raise UsageError(
                    f"memory_gb={memory_gb:g}: {name} alone is {size / GIB:.2g} GiB of weights; set memory_gb higher, "
                    "or 0 for no limit; a 16-bit dtype halves what float32 takes"
                )


def size_of(part: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, each counted once."""
    tensors = {id(tensor): tensor for tensor in chain(part.parameters(), part.buffers())}
    return sum(tensor.nelement() * tensor.element_size() for tensor in tensors.values())
