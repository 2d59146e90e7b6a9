"""A session with its archive and invalid files of each type, and a copy that a test may change."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from tests.support import SHAPE, header, run_in_process, simulated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session of two movies, its archive, an EER file, lists, and invalid files of each type."""
    base = tmp_path_factory.mktemp("mistakes")
    for number in range(2):
        simulated(base / "session" / f"{number}.mrc", seed=number)
    run_in_process("compress", "session", "-o", "archive", cwd=base)
    (base / "notes.txt").write_text("300 kV")
    (base / "eer").mkdir()
    write_eer(base / "eer" / "x.eer", random_frames(20, (64, 80), 0.02, Widths()), (64, 80), Widths())
    whole = (base / "session" / "0.mrc").read_bytes()
    (base / "cut.mrc").write_bytes(whole[:-1000])
    (base / "empty.mrc").write_bytes(b"")
    (base / "mode.mrc").write_bytes(whole[:12] + b"\3" + whole[13:])
    for name, gain in (("zeros", np.zeros(SHAPE)), ("nan", np.full(SHAPE, np.nan)), ("small", np.ones((5, 6)))):
        (base / f"{name}.gain.mrc").write_bytes(header((1, *gain.shape), 2) + gain.astype("<f4").tobytes())
    (base / "gone.star").write_text("data_\nloop_\n_rlnMicrographMovieName\nsession/9.mrc\n")
    (base / "images.star").write_text("data_\nloop_\n_rlnMicrographName\nsession/0.mrc\n")
    (base / "text.star").write_text("0.mrc\n")
    return base


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy of the session as the working directory, which a test may change."""
    place = Path(shutil.copytree(made, tmp_path / "here"))
    (place / "mnt").mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return place
