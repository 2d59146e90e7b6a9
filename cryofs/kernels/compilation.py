"""Compile kernels to object code that does not need numba at run time; importing this module imports numba."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core import compiler
from numba.core.registry import cpu_target

from cryofs.codecs.compiled import compiled
from cryofs.kernels.object_code import ENTRY


def dispatcher(function: Callable[..., None]) -> Callable[..., None]:
    """Return a kernel as a function that numba compiles and caches on its own."""
    kernel: Callable[..., None] = compiled(_with_inlined(function))
    return kernel


def object_code(function: Callable[..., None], signature: tuple[str | None, ...]) -> bytes:
    """Return the object code of a kernel for given argument types.

    Parameters
    ----------
    signature : tuple
        For each argument, the dtype of a contiguous one-dimensional array, or None for an int64 number.

    Raises
    ------
    TypeError
        The kernel calls functions of numba at run time, for example because it allocates memory or raises errors.
    """
    flags: Any = compiler.Flags()  # type: ignore[no-untyped-call]
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.nrt = False
    flags.error_model = "numpy"
    typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    target_context.refresh()
    arguments = tuple(map(_type, signature))
    result = compiler.compile_extra(  # type: ignore[no-untyped-call]
        typing_context, target_context, _with_inlined(function), arguments, numba.types.none, flags, locals={}
    )
    module = result.library._final_module
    module.get_function(result.fndesc.llvm_func_name).name = ENTRY
    needed = [one.name for one in module.functions if one.is_declaration and not one.name.startswith("llvm.")]
    if needed:
        raise TypeError(f"{function.__name__} needs {', '.join(needed)}")
    code: bytes = target_context.codegen()._tm.emit_object(module)
    return code


def _with_inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of a function into which numba can inline all called functions marked with `inlined`."""
    names = dict(function.__globals__)
    for name in function.__code__.co_names:
        found: Any = names.get(name)
        if getattr(found, "is_inlined", False):
            names[name] = numba.njit(error_model="numpy", inline="always")(_with_inlined(found))
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__module__, copy.__qualname__, copy.__doc__ = function.__module__, function.__qualname__, function.__doc__
    return copy


def _type(dtype: str | None) -> Any:
    return numba.types.int64 if dtype is None else numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
