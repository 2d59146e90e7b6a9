"""Share a run between processes that do not know of each other: each carries out one part.

A name belongs to the same part wherever and whenever it is asked, so that parts need not start together, see the same
files, or run on one machine.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import UsageError

AUTO = "auto"
# Rank and number of ranks of Open MPI, and of MPICH and Intel MPI; both count from 0.
_MPI = (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"))
_LAST_NUMBER = re.compile(rb"[0-9]{1,18}(?=[^0-9/]*\Z)")
_ARRAY = "SLURM_ARRAY_TASK_"
_FIX = "pass --part I/N, counted from 1"


@dataclass(frozen=True)
class Part:
    """Part `number`, counted from 1, of `count` parts."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    @property
    def is_whole(self) -> bool:
        """True if there is only one part."""
        return self.count == 1

    def has(self, name: Path) -> bool:
        """Return True if a name belongs to this part.

        Names that differ only in their last number, such as a-001 and a-002, are dealt in turn; others by a hash.
        """
        if self.is_whole:
            return True
        data = os.fsencode(name)
        number = _LAST_NUMBER.search(data)
        rest = data if number is None else data[: number.start()] + data[number.end() :]
        digest = int.from_bytes(hashlib.blake2b(rest, digest_size=8).digest(), "big")
        return (digest + int(number[0] if number else 0)) % self.count == self.number - 1

    def has_index(self, index: int) -> bool:
        """Return True if an item of a list belongs to this part, when items are dealt in turn."""
        return index % self.count == self.number - 1


WHOLE = Part(1, 1)


def part_of(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """Return the part that an option names: `I/N`, or `auto` for the one that the environment gives this process.

    Raises
    ------
    UsageError
        The option is invalid, or the environment gives no part.
    """
    if text == AUTO:
        return _part_of_environment(environment)
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--part: invalid value {text!r}; expected I/N with I from 1 to N, for example 1/4, or {AUTO}")
    return Part(int(found[1]), int(found[2]))


def _part_of_environment(environment: Mapping[str, str]) -> Part:
    for rank, size in _MPI:
        if rank in environment and size in environment:
            return _checked(_number(environment, rank) + 1, _number(environment, size), rank)
    if f"{_ARRAY}ID" in environment:
        return _part_of_array(environment)
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        if "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment:
            # the batch script itself has them too, and would do the first part only
            raise UsageError(f"--part {AUTO}: a batch script, not a task of srun; start cryofs with srun, or {_FIX}")
        return _checked(_number(environment, "SLURM_PROCID") + 1, _number(environment, "SLURM_NTASKS"), "SLURM_PROCID")
    raise UsageError(
        f"--part {AUTO}: no rank of MPI, Slurm array or srun found; start cryofs with one of them, or {_FIX}"
    )


def _part_of_array(environment: Mapping[str, str]) -> Part:
    """Return the part of a task of a Slurm array, whose numbers may begin anywhere and have a step."""
    task, first, last = (_number(environment, f"{_ARRAY}{name}") for name in ("ID", "MIN", "MAX"))
    count, step = _number(environment, f"{_ARRAY}COUNT"), _number(environment, f"{_ARRAY}STEP", 1)
    if step < 1 or (last - first) % step or (last - first) // step + 1 != count or (task - first) % step:
        raise UsageError(
            f"--part {AUTO}: the Slurm array has gaps ({count} tasks from {first} to {last}), so some parts would not "
            f"run; use --array=0-{count - 1}, or {_FIX}"
        )
    return _checked((task - first) // step + 1, count, f"{_ARRAY}ID")


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise UsageError(f"--part {AUTO}: invalid {name} in the environment (expected a number, got {text!r}); {_FIX}")
    return int(text)


def _checked(number: int, count: int, name: str) -> Part:
    if not 1 <= number <= count:
        raise UsageError(f"--part {AUTO}: invalid {name} in the environment (expected below {count}); {_FIX}")
    return Part(number, count)
