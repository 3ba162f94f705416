"""Freed memory kept for the next large array, where the C library would hand it back.

glibc maps every array over 32 MB from the operating system and unmaps it when it is freed; the system fills each page
with zeros at its first touch. A decoder of pictures spends a fifth of its time so.
"""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


@functools.cache
def keep_freed_memory() -> bool:
    """Lets this process keep what it frees, up to its peak, from now on; whether the C library can.

    The peak itself stays nearly what it is. `malloc_trim(0)` of the C library gives all of it back.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
