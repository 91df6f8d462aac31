"""Settings of the C library's allocator for training on a CPU."""

import ctypes
import sys

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc accepts no more


def keep_freed() -> bool:
    """Keeps freed memory in the process instead of returning it to the system after each use.

    TensorFlow allocates and frees tensors of many megabytes in every step. By default each of
    them is a new mapping, and the system clears its pages at the first access.

    Returns:
      Whether the allocator accepted the settings; False for other C libraries than glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_TRIM_THRESHOLD, 2**31 - 1),
        (_TOP_PAD, 256 << 20),
    )
    return all([mallopt(*setting) == 1 for setting in settings])
