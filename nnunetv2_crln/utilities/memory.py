"""Measure the memory of this process."""

import math
import sys

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_ram_gib() -> float:
    """Return the largest main memory that this process has used so far, in GiB; NaN where the system does not tell."""
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
