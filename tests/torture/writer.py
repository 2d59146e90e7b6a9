"""A program that changes files of a mount, logs each call before and after it, and reads back what it wrote.

    python -m tests.torture.writer FOLDER LOG SEED

FOLDER is a folder of the mount, LOG a file elsewhere. It runs until SIGTERM, which ends it between two calls, or until
a call fails. `Expected` finds in the log what the folder must hold, whenever the program or the mount was killed.
"""

import functools
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from benchmarks.simulate import header
from cryofs.system import file_calls, renaming

SHAPE = (3, 96, 128)
# Movies, and names without an archived form; a rename from one to the other makes movies plain files, or the reverse.
NAMES = ("a.mrc", "b.mrc", "c.mrcs", "e.mrc", "d/a.mrc", "d/b.mrc", "d/c.mrcs", "x.dat", "d/y.dat")
_KINDS = ("new", "new", "write", "write", "write", "write", "cut", "rename", "rename", "exchange", "remove")
# A pause in which movies are archived, in seconds, and how often there is one.
_LONGEST_PAUSE, _PAUSES = 0.5, 0.15
# libfuse removes the name of a file that is still open 50 ms later, and a loaded machine later than that.
_SECONDS_TO_LEAVE = 2.0
_AT_FDCWD = -100

# One call: its kind, the name, and what else it takes.
Call = dict[str, Any]


@functools.cache
def movie(seed: int) -> bytes:
    """The bytes of a movie."""
    return header(SHAPE, 1) + np.random.default_rng(seed).poisson(1, SHAPE).astype("<i2").tobytes()


def piece(call: Call) -> bytes:
    """The bytes that a call writes into a file."""
    return bytes([call["byte"]]) * int(call["size"])


@dataclass
class Expected:
    """What the files of a folder hold.

    Attributes
    ----------
    files : dict
        Contents by name, as of the last call that has returned.
    pending : dict or None
        The call that was begun and has not returned.
    leaving : dict
        Contents of names that were removed a moment ago, which may still be there after a kill of the mount.
    problems : list of str
        Wrong bytes that the program has read, and calls that failed.
    """

    files: dict[str, bytes]
    pending: Call | None = None
    leaving: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, files: dict[str, bytes], log: Path) -> "Expected":
        """Return what a folder holds after the calls of a log; `files` is what it held before."""
        found = cls(dict(files))
        removed: list[tuple[float, str, bytes]] = []
        last = 0.0
        for line in log.read_bytes().split(b"\n")[:-1]:
            entry = json.loads(line)
            last = entry["time"]
            if "problem" in entry:
                found.problems.append(entry["problem"])
            elif "done" in entry and found.pending is not None:
                if found.pending["kind"] == "remove":
                    removed.append((last, found.pending["name"], found.files[found.pending["name"]]))
                found.files = after(found.files, found.pending)
                found.pending = None
            else:
                found.pending = entry["call"]
        for moment, name, data in removed:
            if moment > last - _SECONDS_TO_LEAVE:
                found.leaving[name] = data
        return found

    def allows(self, shown: dict[str, bytes]) -> bool:
        """Return True if a folder may hold these files."""
        left = [name for name, data in self.leaving.items() if name not in self.files and shown.get(name) == data]
        rest = {name: data for name, data in shown.items() if name not in left}
        return self._allows(shown) or self._allows(rest)

    def _allows(self, shown: dict[str, bytes]) -> bool:
        if shown == self.files or self.pending is None:
            return shown == self.files
        done, name = after(self.files, self.pending), self.pending["name"]
        if self.pending["kind"] in ("new", "write") and {**shown, name: b""} == {**done, name: b""} and name in shown:
            return _is_part(self.files.get(name, b""), done[name], shown[name], self.pending)
        return shown == done


def _is_part(old: bytes, new: bytes, found: bytes, call: Call) -> bool:
    """Return True if a file holds what a call may leave that was interrupted."""
    if call["kind"] == "new":
        return found == old or new.startswith(found)
    offset, data = call["offset"], piece(call)
    written = found[offset : offset + len(data)]
    count = len(written) - len(written.lstrip(data[:1]))
    return found == old[:offset] + data[:count] + old[offset + count :]


def after(files: dict[str, bytes], call: Call) -> dict[str, bytes]:
    """Return the contents after a call."""
    files, name = dict(files), call["name"]
    match call["kind"]:
        case "new":
            files[name] = movie(call["seed"])
        case "write":
            data, offset, old = piece(call), call["offset"], files[name]
            files[name] = old[:offset] + data + old[offset + len(data) :]
        case "cut":
            files[name] = files[name][: call["size"]].ljust(call["size"], b"\0")
        case "rename":
            files[call["to"]] = files.pop(name)
        case "exchange":
            files[name], files[call["to"]] = files[call["to"]], files[name]
        case "remove":
            del files[name]
    return files


def perform(folder: Path, call: Call) -> None:
    """Make a call in a folder of the mount."""
    path = folder / call["name"]
    match call["kind"]:
        case "new":
            with path.open("wb", buffering=0) as file:
                file.write(movie(call["seed"]))
        case "write":
            with path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), piece(call), call["offset"])
                if call["sync"]:
                    os.fsync(file.fileno())
        case "cut":
            os.truncate(path, call["size"])
        case "rename":
            path.rename(folder / call["to"])
        case "exchange":
            file_calls.move(_AT_FDCWD, str(path), _AT_FDCWD, str(folder / call["to"]), renaming.EXCHANGE)
        case "remove":
            path.unlink()


def contents(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Writer:
    """Makes random calls in a folder, which other programs do not change."""

    def __init__(self, folder: Path, log: Path, seed: int):
        self._folder = folder
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._rng = np.random.default_rng(seed)
        self._files = contents(folder)
        self._is_over = False

    def run(self) -> None:
        """Make calls until SIGTERM; a call that fails is logged and raised."""
        signal.signal(signal.SIGTERM, self._end)
        while not self._is_over:
            call = self._choose()
            self._note(call=call)
            try:
                perform(self._folder, call)
            except OSError as error:
                self._note(problem=f"{call}: {error}")
                raise
            self._note(done=True)
            self._files = after(self._files, call)
            self._check()
            if self._rng.random() < _PAUSES:
                time.sleep(self._rng.uniform(0, _LONGEST_PAUSE))

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._is_over = True

    def _note(self, **entry: object) -> None:
        os.write(self._log, json.dumps({"time": time.monotonic(), **entry}).encode() + b"\n")

    def _check(self) -> None:
        """Read a file, or the names, and compare."""
        name = str(self._rng.choice(list(self._files))) if self._files else None
        if name is None or self._rng.random() < 0.2:
            found = {str(path.relative_to(self._folder)) for path in self._folder.rglob("*") if not path.is_dir()}
            if found != self._files.keys():
                self._note(problem=f"listed {sorted(found)} instead of {sorted(self._files)}")
        elif (self._folder / name).read_bytes() != self._files[name]:
            self._note(problem=f"wrong bytes in {name}")

    def _choose(self) -> Call:
        rng = self._rng
        kind = str(rng.choice(_KINDS))
        if len(self._files) < 3:
            kind = "new"
        if kind == "new":
            return {"kind": kind, "name": str(rng.choice(NAMES)), "seed": int(rng.integers(8))}
        name, other = map(str, rng.choice(list(self._files), 2, replace=False))
        total = len(self._files[name])
        match kind:
            case "write":
                size = int(rng.integers(1, 20_000))
                # as a rule a movie stays a whole one
                offset = int(rng.integers(total + 1 if rng.random() < 0.1 else max(1, total - size)))
                byte, sync = int(rng.integers(1, 256)), bool(rng.random() < 0.2)
                return {"kind": kind, "name": name, "offset": offset, "size": size, "byte": byte, "sync": sync}
            case "cut":
                return {"kind": kind, "name": name, "size": int(rng.integers(len(movie(0)) + 1))}
            case "rename":
                to = [one for one in NAMES if one != name]
                return {"kind": kind, "name": name, "to": str(rng.choice(to))}
        return {"kind": kind, "name": name, "to": other} if kind == "exchange" else {"kind": kind, "name": name}


if __name__ == "__main__":
    Writer(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])).run()
