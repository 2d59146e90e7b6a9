"""Compile kernels with numba, and store their code (`cryofs.system.code_cache`); importing this imports numba.

Numba's own cache ends with an error on a damaged file or a full disk, fails if no folder is writable, and does not read
the code beside the source for users who may not write there.
"""

import functools
import hashlib
import inspect
import os
import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from cryofs.system import code_cache

# numba has annotations in some versions only
_rebuild: Callable[..., Any] = CompileResult._rebuild
_dumps: Callable[..., bytes] = dumps

# All kernels of the imported modules.
_kernels: list["_StoredCode"] = []


def compiled(function: Callable[..., Any]) -> Any:
    """Return a kernel that numba compiles for each combination of types at the first call."""
    return compiled_for()(function)


def compiled_for(*signatures: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator for a kernel that is compiled for given signatures only, when its module is imported."""

    def decorate(function: Callable[..., Any]) -> Any:
        kernel: Any = njit(nogil=True, error_model="numpy")(function)
        if kernel is function:
            return function  # numba is disabled
        kernel._cache = _StoredCode(function)
        for signature in signatures:
            kernel.compile(signature)
        if signatures:
            kernel.disable_compile()
        return kernel

    return decorate


@dataclass(frozen=True)
class Stored:
    """Where the code of the imported kernels is stored, for this processor.

    Attributes
    ----------
    kernels, for_all, for_user : int
        Number of kernels, of those with code beside the source, and of those with code in another folder only.
    shared, own : list of Path
        Folders beside the source, and the other folders that contain code.
    """

    kernels: int
    for_all: int
    for_user: int
    shared: list[Path]
    own: list[Path]


def stored() -> Stored:
    """Return where the code of the imported kernels is stored."""
    sources = dict.fromkeys(kernel.source for kernel in _kernels)
    used = list(dict.fromkeys(folder for source in sources for folder in code_cache.folders(source)))
    shared = [folder for folder in map(code_cache.beside, sources) if folder in used]
    own = [folder for folder in used if folder not in shared]
    for_all = [kernel for kernel in _kernels if any(map(kernel.is_in, shared))]
    for_user = [kernel for kernel in _kernels if kernel not in for_all and any(map(kernel.is_in, own))]
    filled = [folder for folder in own if any(kernel.is_in(folder) for kernel in for_user)]
    return Stored(len(_kernels), len(for_all), len(for_user), shared, filled)


class _StoredCode:
    """The cache of a kernel, with the interface of numba's caches."""

    cache_path = None

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self.source = Path(inspect.getfile(function))
        _kernels.append(self)

    def enable(self) -> None:
        """Do nothing: the cache is always used."""

    disable = flush = enable

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the code for a signature, or None if it is not stored."""
        target_context.refresh()
        code = code_cache.load(self._name(signature), self.source)
        return None if code is None else _rebuild(target_context, *pickle.loads(code))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store the code for a signature, if that is possible."""
        if not result.library.has_dynamic_globals:
            code_cache.store(self._name(signature), self.source, _dumps(result._reduce()))

    def is_in(self, folder: Path) -> bool:
        """Return True if a folder contains code of this kernel for this processor."""
        return any(folder.glob(f"{self._stem()}.*.nbc"))

    def _name(self, signature: Any) -> str:
        return f"{self._stem()}.{hashlib.sha256(str(signature).encode()).hexdigest()[:16]}.nbc"

    def _stem(self) -> str:
        code = self._function.__code__
        facts = code.co_code, code.co_firstlineno, *_machine()
        digest = hashlib.sha256(_source_bytes(self.source) + repr(facts).encode()).hexdigest()
        return f"{self.source.stem}.{self._function.__name__}-{digest[:32]}"


@functools.cache
def _source_bytes(source: Path) -> bytes:
    return hashlib.sha256(source.read_bytes()).digest()


@functools.cache
def _machine() -> tuple[Any, ...]:
    """Return everything besides the source that determines code: libraries, processor, settings of numba."""
    from numba.core.registry import cpu_target

    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    return (
        numba.__version__,
        llvmlite.__version__,
        platform.python_version_tuple()[:2],
        cpu_target.target_context.codegen().magic_tuple(),
        [item for item in settings if item[0] not in code_cache.HARMLESS],
    )
