"""What a worker asks of its device: which it has, what it is called, what it held, whether it failed for good.

torch is looked at only where the work has imported it.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import sys

from harness.errors import UsageError
from harness.nouns import Worker


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether the device had no memory left; the process is as good as before once what it held is freed."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    said = isinstance(error, torch.AcceleratorError) and "out of memory" in str(error)
    return said or isinstance(error, torch.OutOfMemoryError)


def is_broken(error: BaseException) -> bool:
    """Whether it is a device-side fault, after which every later call of the process fails too."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.AcceleratorError) and not ran_out_of_memory(error)


def free_device_memory() -> None:
    """Give back what is no longer used: the cycles that hold tensors, and what torch keeps for the next ones."""
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


def device_name(device: str) -> str:
    """The device's own name, safe as a part of a file's name: "NVIDIA-H200", "cpu"."""
    if device == "cpu":
        return device
    import torch

    return re.sub(r"[^A-Za-z0-9.]+", "-", torch.cuda.get_device_name()).strip("-")


def pick_device(worker: Worker) -> str:
    """ "cuda" for a worker that wants a GPU and sees one, else "cpu"; imports torch only for those that want one.

    On the CPU torch gets one thread, as Ray gives it, so that this process and Ray's workers compute the same bits.

    Raises UsageError where a GPU was handed out (CUDA_VISIBLE_DEVICES names one) and torch sees none.
    """
    if not worker.gpus:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    handed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if handed not in ("", "-1"):
        raise UsageError(
            f"CUDA_VISIBLE_DEVICES={handed}, and torch sees no GPU on {platform.node()}: is its driver up?"
        )
    torch.set_num_threads(1)
    return "cpu"


def peak_memory(device: str) -> int:
    """The most bytes that tensors held on the device since the last reset; 0 on CPU."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())


def reset_peak_memory(device: str) -> None:
    """Begin to measure anew."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
