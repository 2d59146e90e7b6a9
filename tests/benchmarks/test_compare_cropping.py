"""The comparison of cropping with the transforms alone, on a small movie."""

from pathlib import Path

from benchmarks.compare_cropping import crop
from benchmarks.competitors import OURS
from benchmarks.reading_report import readings_text
from benchmarks.simulate_eer import Widths, random_frames, write_eer


def test_a_row_of_the_report(tmp_path: Path) -> None:
    shape = (64, 48)
    write_eer(tmp_path / "x.eer", random_frames(24, shape, 0.02, Widths()), shape, Widths())
    readings = crop(tmp_path / "x.eer", 3)
    assert {reading.way for reading in readings} == {OURS, "numpy.fft, transforms alone"}
    assert [len(reading.values) for reading in readings] == [3, 3]
    assert "one fraction, 8K to 4K, beyond rendering" in "\n".join(readings_text(readings))
