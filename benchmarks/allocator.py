"""Each side of a race with the memory it has in use: the reference with glibc's defaults, ours as `prepack` sets it.

Both run in one process, so it is switched between them.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_MB = 1 << 20


def by_default() -> None:
    """What glibc comes to by itself after some large arrays, and nothing kept from before."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 65536)
        library.mallopt(_MMAP_THRESHOLD, 32 * _MB)
        library.mallopt(_TRIM_THRESHOLD, 64 * _MB)
        library.malloc_trim(0)


def kept() -> None:
    """As `nexus.nn.memory.keep_freed_memory`, which works once a process."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
