"""How much memory the process takes, as Linux counts it. MB are 10⁶ bytes."""

import ctypes
from collections.abc import Callable
from pathlib import Path


def status_mb(key: str) -> float:
    """A line of /proc/self/status in MB: VmRSS is now, VmHWM the peak since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1.024e-3
    raise KeyError(key)


def at_rest_mb() -> float:
    """The resident size, MB, after memory that is free has been given back."""
    ctypes.CDLL(None).malloc_trim(0)
    return status_mb("VmRSS")


def peak_of(run: Callable[[], object]) -> float:
    """The largest resident size during a call, MB, after memory that is free has been given back."""
    at_rest_mb()
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return status_mb("VmHWM")
