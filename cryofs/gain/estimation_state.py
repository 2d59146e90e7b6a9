"""Save and load the state of gain estimates, so that a later run of `cryofs estimate-gain` can continue them.

A folder contains one state for each gain: `gain-estimate.npz`, `gain-estimate-2.npz`, and so on.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cryofs.errors import GainError
from cryofs.gain.estimation import Estimation
from cryofs.kernels.gain_estimate import GainEstimate
from cryofs.storage.atomic_file import draft, naming

STATE_NAME = "gain-estimate.npz"
_STATE_PATTERN = re.compile(r"gain-estimate(?:-([1-9][0-9]{0,5}))?\.npz")
# A file without a version number has version 1.
_VERSION = 2
_ARRAYS = ("gain", "low", "high", "reliability")
_FACTS = ("thresh", "reliable", "changes", "unreliable", "frames_done", "stamps", "pixel_size", "tolerance", "names")
# those by the names of movies
_BY_MOVIE = ("frames_done", "stamps")


def state_path(folder: Path, number: int) -> Path:
    """Return the path of the saved state of an estimate."""
    return folder / (STATE_NAME if number == 1 else f"gain-estimate-{number}.npz")


def save(estimation: Estimation, folder: Path, root: Path | None = None) -> None:
    """Write the state of an estimate to a folder atomically.

    Parameters
    ----------
    root : Path, optional
        Folder to which the names of movies are relative in the state, because its own path may change.
    """
    path = state_path(folder, estimation.number)
    facts = {"version": _VERSION, **{name: getattr(estimation, name) for name in _FACTS}}
    if root is not None:
        facts |= {name: _relative(facts[name], root) for name in _BY_MOVIE}
    arrays: dict[str, Any] = vars(estimation.estimate)
    with naming(path), draft(path) as state:
        np.savez(state.file, allow_pickle=False, state=np.array(json.dumps(facts)), **arrays)
        state.sync()
        state.publish()


def load_all(folder: Path, root: Path | None = None) -> list[Estimation]:
    """Return all estimates saved in a folder, in the order of their numbers.

    Parameters
    ----------
    root : Path, optional
        The folder that was passed to `save`, by its present path.

    Raises
    ------
    GainError
        A saved state is damaged, or a newer version of cryofs wrote it.
    """
    numbers = [int(match[1] or 1) for path in folder.iterdir() if (match := _STATE_PATTERN.fullmatch(path.name))]
    return [load(folder, number, root) for number in sorted(set(numbers)) if state_path(folder, number).exists()]


def load(folder: Path, number: int = 1, root: Path | None = None) -> Estimation:
    """Return an estimate that `save` wrote to a folder; `root` is as for `load_all`.

    Raises
    ------
    GainError
        The saved state is damaged, or a newer version of cryofs wrote it.
    """
    path = state_path(folder, number)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            facts: dict[str, Any] = json.loads(str(saved["state"]))
            version = facts.pop("version", 1)
            if version > _VERSION:
                raise GainError(f"{path}: written by a newer version of cryofs; update cryofs, or use another folder")
            arrays = {name: saved[name] for name in _ARRAYS}
            # version 1 did not record mismatches, but a pixel with negative reliability had some
            mismatched = saved["mismatched"] if version > 1 else arrays["reliability"] < 0
            facts["stamps"] = {name: tuple(stamp) for name, stamp in facts.get("stamps", {}).items()}
            if root is not None:
                facts |= {name: {str(root / path): value for path, value in facts[name].items()} for name in _BY_MOVIE}
            return Estimation(GainEstimate(**arrays, mismatched=mismatched), number=number, **facts)
    except GainError:
        raise
    except Exception as error:
        # for damaged files, np.load raises errors of zipfile, zlib, NumPy and others
        raise GainError(f"{path}: invalid saved estimate ({error}); delete the file to restart the estimate") from error


def _relative(by_movie: Mapping[str, Any], root: Path) -> dict[str, Any]:
    return {os.path.relpath(name, root): value for name, value in by_movie.items()}
