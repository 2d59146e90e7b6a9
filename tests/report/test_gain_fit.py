"""The bars of a gain reference that came with TIFF movies."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.simulate import header
from benchmarks.simulate_counts import make_gain
from cryofs.report.gain_fit import fit_of
from cryofs.report.page import write_report
from tests.outcomes import adopted
from tests.support import archive, simulated

SHAPE = (300, 280)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("right", "fits as it is"),
        ("turned", "fits in another orientation: rot180-flip"),
        ("other", "does not seem to match"),
    ],
)
def test_an_adopted_archive(tmp_path: Path, kind: str, verdict: str) -> None:
    rng = np.random.default_rng(8)
    gain, other = (np.maximum(make_gain(rng, SHAPE, 0.1), np.float32(0.5)) for _ in range(2))
    folder = tmp_path / "archive"
    folder.mkdir()
    with tifffile.TiffWriter(folder / "a.tif") as writer:
        for _ in range(8):
            writer.write(rng.poisson(1 / gain).astype(np.uint8)[::-1], rowsperstrip=64)
    given = {"right": gain, "turned": gain[::-1], "other": other}[kind]
    (folder / "gain-reference.mrc").write_bytes(
        header((1, *SHAPE), 2) + np.ascontiguousarray(given, np.float32).tobytes()
    )
    assert not adopted(folder)[1]
    fit = fit_of(folder / "gain-reference.mrc", folder / "a.tif", 2)
    assert fit is not None
    assert verdict in fit.verdict
    assert [height for _, _, height in fit.bars] == sorted((height for _, _, height in fit.bars), reverse=True)
    page = tmp_path / "page.html"
    write_report(folder, page, 0, 2, lambda _: None)
    text = page.read_text()
    assert f"the reference {verdict}" in text
    assert text.count("<title>rot") == len(fit.bars) == 4


def test_movies_that_cryofs_divided_are_not_checked(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "a.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    reference = tmp_path / "archive" / "gain-reference.mrc"
    assert fit_of(reference, tmp_path / "archive" / "a.mrc.tif", 1) is None
    assert fit_of(reference, tmp_path / "session" / "a.mrc", 1) is None
    assert fit_of(reference, tmp_path / "missing.tif", 1) is None
