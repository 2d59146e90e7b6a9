"""A disk that is full from the n-th step of writing on: a write, a sync, a name, a folder, a link."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_STEPS_OF_PATHS = ("replace", "rename", "hardlink_to", "mkdir", "symlink_to")


class FullDisk:
    """Counts steps of writing; from one on, all fail."""

    def __init__(self, full_at: int):
        self.steps = 0
        self._full_at = full_at

    def step(self, *names: str) -> None:
        """Take a step; as from the system, errors name files where the call has a name."""
        self.steps += 1
        if self.steps > self._full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)


class Kill(FullDisk):
    """Ends the process at a step, as SIGKILL would: nothing is cleaned up, and what is in buffers is lost."""

    def step(self, *names: str) -> None:
        """Take a step, or none ever again."""
        try:
            super().step(*names)
        except OSError:
            os._exit(9)


class _Raw(io.FileIO):
    """A file on a full disk."""

    def __init__(self, path: Path, disk: FullDisk):
        super().__init__(path, "x+")
        self._disk = disk

    def write(self, data: Any) -> int:
        self._disk.step()
        return super().write(data)


def killed_at(step: int, call: Callable[[], object]) -> bool:
    """Call a function in a process that is killed at a step of writing; False if it was done before."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), full_disk(step, Kill):
            call()
            os._exit(0)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@contextlib.contextmanager
def full_disk(full_at: int, kind: type[FullDisk] = FullDisk) -> Iterator[FullDisk]:
    """Have all files that are made from now on lie on a disk that is full from a step on."""
    disk = kind(full_at)
    with pytest.MonkeyPatch.context() as patch:
        open_path = Path.open

        def open_file(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode != "x+b":
                return open_path(path, mode, *arguments, **options)
            disk.step(str(path))
            return io.BufferedRandom(_Raw(path, disk))

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def step(file: int | Path, *arguments: Any, **options: Any) -> Any:
                if not (call.__name__ == "mkdir" and isinstance(file, Path) and file.is_dir()):
                    disk.step(*([str(file)] if isinstance(file, Path) else []))
                return call(file, *arguments, **options)

            return step

        patch.setattr(Path, "open", open_file)
        patch.setattr(os, "fsync", counted(os.fsync))
        for name in _STEPS_OF_PATHS:
            patch.setattr(Path, name, counted(getattr(Path, name)))
        yield disk
