"""Keep what the interpreter knows of the threads of libfuse.

For each call from a thread that it did not start, the interpreter makes a state, which has a stack of its own, and
deletes it after the call. Mapping and clearing that memory takes longer than many requests.
"""

import ctypes
import threading

from cryofs.fuse.libfuse import mfusepy

# Earlier versions of libfuse end idle threads, and the interpreter would not notice.
_KEEPS_THREADS = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor) >= (3, 12)
_kept = threading.local()


def keep_state() -> None:
    """Keep the state of the calling thread, if libfuse keeps the thread."""
    if _KEEPS_THREADS and not hasattr(_kept, "is_kept"):
        # never released
        ctypes.pythonapi.PyGILState_Ensure()
        _kept.is_kept = True
