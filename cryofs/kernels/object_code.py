"""Store the machine code of kernels in files, so that kernels run without numba.

Importing numba takes a third of a second, which would delay the first read of a movie. Numba compiles a kernel once;
after that, llvmlite alone loads the object code in a few milliseconds. A file is used only if source, libraries,
processor and checksum match.

Thread safety: any thread may call a kernel; a lock is held while code is compiled or loaded.
"""

import contextlib
import ctypes
import hashlib
import inspect
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.system import code_cache

_Argument = NDArray[Any] | int
_Signature = tuple[str | None, ...]


def inlined(function: Callable[..., Any]) -> Any:
    """Mark a function for inlining in kernels of the same file, and return it."""
    vars(function)["is_inlined"] = True
    return function


class Kernel:
    """A compiled function whose arguments are int64 numbers or contiguous one-dimensional arrays.

    The function must not return a value, raise an error or allocate memory. It is compiled at the first call with each
    combination of array types. If the environment contains settings of numba, such as NUMBA_DISABLE_JIT, numba compiles
    and runs the function instead.
    """

    def __init__(self, function: Callable[..., None]):
        self.function = function
        self._lock = threading.Lock()
        self._loaded: dict[_Signature, Callable[..., None]] = {}

    def __call__(self, *arguments: _Argument) -> None:
        """Run the kernel with the interpreter's lock released, so that other threads can run."""
        signature = tuple(one.dtype.str if isinstance(one, np.ndarray) else None for one in arguments)
        with self._lock:
            run = self._loaded.get(signature)
            if run is None:
                run = self._loaded[signature] = self._load(signature)
        run(*arguments)

    def _load(self, signature: _Signature) -> Callable[..., None]:
        if any(name.startswith("NUMBA_") and name not in code_cache.HARMLESS for name in os.environ):
            from cryofs.kernels import compilation

            return compilation.dispatcher(self.function)
        name = f"{self.function.__name__}-{_fingerprint(self.function, signature)}.o"
        source = Path(__file__)
        code = code_cache.load(name, source)
        if code is None:
            from cryofs.kernels import compilation

            code = compilation.object_code(self.function, signature)
            code_cache.store(name, source, code)
        return _entry(code, name, signature)


def _fingerprint(function: Callable[..., None], signature: _Signature) -> str:
    """Return a hash of everything that determines the machine code: source, types, libraries and processor."""
    import llvmlite
    from llvmlite import binding

    numba = find_spec("numba")
    sources = [Path(inspect.getfile(function)), Path(__file__).with_name("compilation.py")]
    if numba is not None and numba.origin is not None:
        sources.append(Path(numba.origin).with_name("_version.py"))
    facts = signature, sys.version_info[:3], llvmlite.__version__
    processor = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    parts = [*(source.read_bytes() for source in sources), repr((facts, processor)).encode()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:32]


def _entry(code: bytes, name: str, signature: _Signature) -> Callable[..., None]:
    """Load object code, and return a function that runs it with the arguments of the kernel."""
    from llvmlite import binding

    with contextlib.suppress(RuntimeError):
        # newer versions of llvmlite initialize LLVM themselves, and raise this error
        binding.initialize()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kinds = [kind for one in signature for kind in ([ctypes.c_int64] if one is None else _ARRAY)]
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)
    # calls release the interpreter's lock
    call = prototype(engine.get_function_address(ENTRY))

    def run(*arguments: _Argument) -> None:
        # memory for the result and the error that numba returns
        result, error = ctypes.c_void_p(), ctypes.c_void_p()
        flat = [part for one in arguments for part in _flat(one)]
        if call(ctypes.addressof(result), ctypes.addressof(error), *flat):
            raise RuntimeError(f"{name}: unexpected error in compiled code")

    # keeps the engine alive, because the code is freed with it
    vars(run)["engine"] = engine
    return run


# Name of the function in object code.
ENTRY = "cryofs_kernel"
# Array in the form of numba's calls: reference count, owner, items, bytes per item, data, shape, strides.
_ARRAY = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, *2 * [ctypes.c_int64]]


def _flat(argument: _Argument) -> tuple[int | None, ...]:
    if not isinstance(argument, np.ndarray):
        return (argument,)
    if argument.ndim != 1 or not argument.flags.c_contiguous:
        raise ValueError("expected a contiguous array of one dimension")
    size, item = argument.size, argument.itemsize
    return None, None, size, item, argument.ctypes.data, size, item
