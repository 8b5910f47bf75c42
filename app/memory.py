"""What a process that lives long keeps of the memory that it needed for a moment.

glibc gives each thread an arena of its own, up to eight for each processor, and what it hands out of an arena for large
blocks comes back to the system only where nothing small has been put behind it. Bulk uploads pass through dozens of
Lance's threads; of a gateway that took 100,000 items in Arrow, malloc then had 171 MiB free and 59 in use.
"""

import ctypes
import gc
from collections.abc import Callable

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # malloc.h
_ARENAS = 2  # the interpreter lets one thread at a time allocate most of what there is
_MAPPED_BYTES = 2**20  # from this size on blocks are the system's own; left out, glibc raises it to 32 MiB by and by
_OBJECTS_UNTIL_COLLECTION = 20_000


def give_memory_back() -> None:
    """Has this process give back large blocks as soon as they are freed. To be called before it has many threads; where
    the C library is another than glibc, it is that one's own way that counts."""
    mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def rare_collections() -> None:
    """Has Python look for garbage in cycles rarely, and not in what is there by now, which stays. By default it would
    look every 700 objects, which a few requests under way are already, and each time at all of them; and now and then
    at every item that is kept in memory.

    Called before what a command needs is imported, whose objects stay too: looking at them was a fifth of that time;
    and once a gateway has started.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTION, 10, 10)
