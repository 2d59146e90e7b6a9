"""`cryofs ingest` of scaled integers: counts if a reference fits, otherwise the values."""

from pathlib import Path

import pytest

from benchmarks.simulate import header
from benchmarks.simulate_scaled import ScaledDetector
from cryofs.archive.info import describe
from cryofs.ingest.draft import DraftOptions
from cryofs.ingest.run import IngestOptions
from tests.ingest.runs import figures, ingested
from tests.support import DETECTOR, assert_verified, restored


@pytest.mark.parametrize(("gain", "is_counts"), [("auto", True), ("none", False), ("missing", False)])
def test_scaled_integers_do_not_wait(tmp_path: Path, gain: str, is_counts: bool) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    ScaledDetector(DETECTOR).write(folder / "a.mrc", 3)
    original = (folder / "a.mrc").read_bytes()
    if gain != "missing":
        (folder / "gain-reference.mrc").write_bytes(header((1, *DETECTOR.shape), 2) + DETECTOR.gain.tobytes())
    draft = DraftOptions("none" if gain == "none" else "auto")
    summary, _ = ingested(folder, IngestOptions(settle=0, jobs=2, draft=draft))
    assert figures(summary) == (1, 0, 0, 0)
    assert (describe(folder / "a.mrc.tif")["gain"] is not None) == is_counts
    assert (restored(folder, tmp_path / "back") / "a.mrc").read_bytes() == original
    assert_verified(folder, 1)
