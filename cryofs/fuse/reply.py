"""Memory for the reply to a read request, which libfuse sends to the kernel and releases.

The memory is page-aligned, because the kernel copies page by page; without alignment, each page of the kernel would be
copied from two pages of this memory.
"""

import ctypes
import errno
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.vfs.open_files import Bytes, put

_PAGE = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None)
_libc.posix_memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
_libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
_libc.calloc.restype = ctypes.c_void_p
_libc.free.argtypes = [ctypes.c_void_p]
_libc.free.restype = None


class Buffers(ctypes.Structure):
    """`struct fuse_bufvec` of libfuse, with one `struct fuse_buf`."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("index", ctypes.c_size_t),
        ("offset", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("memory", ctypes.c_void_p),
        ("descriptor", ctypes.c_int),
        ("position", ctypes.c_int64),
    )


class Reply:
    """Page-aligned memory for a reply of at most `size` bytes.

    Attributes
    ----------
    memory : ndarray of uint8
        The memory, shape (size,), valid until the reply is handed over or freed.
    """

    def __init__(self, size: int):
        found = ctypes.c_void_p()
        if _libc.posix_memalign(ctypes.byref(found), _PAGE, max(size, 1)):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self._address = found.value
        self._size = 0
        held = (ctypes.c_uint8 * size).from_address(found.value or 0)
        self.memory: NDArray[np.uint8] = np.ctypeslib.as_array(held)

    def put(self, data: Bytes) -> None:
        """Set the bytes of the reply; they are not copied if they are already in its memory."""
        self._size = put([data], self.memory)

    def hand_over(self, buffers: Any) -> None:
        """Pass the reply to libfuse, which then frees it; `buffers` is a `struct fuse_bufvec **`."""
        found = _libc.calloc(1, ctypes.sizeof(Buffers))
        if not found:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        reply = Buffers.from_address(found)
        reply.count, reply.size, reply.memory = 1, self._size, self._address
        ctypes.cast(buffers, ctypes.POINTER(ctypes.c_void_p))[0] = found
        self._address = None

    def free(self) -> None:
        """Free the memory unless it was handed over."""
        _libc.free(self._address)
        self._address = None
