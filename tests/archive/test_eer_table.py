"""Facts about EER files for people: acquisition, tables of folders, lines for MotionCor."""

from pathlib import Path

import pytest

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.archive.eer_table import eer_rows
from cryofs.archive.info import describe
from cryofs.archive.motioncor import lines_of_eer, lines_of_fractions
from cryofs.errors import FormatError
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.provider import InfoOptions
from tests.support import run_in_process

SHAPE = (48, 64)
FALCON = Widths()
ITEMS = {
    "serialNumber": "1234",
    "commercialName": "Falcon 4i",
    "timestamp": "2024-03-01T12:00:00",
    "exposureTime": "2.5",
    "meanDoseRate": "4.4",
}


def write(path: Path, frames: int = 10, xml: bytes = b"", items: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f'<item name="{name}">{value}</item>' for name, value in (items or {}).items())
    xml = xml and xml.replace(b"</metadata>", f"{lines}</metadata>".encode())
    write_eer(path, random_frames(frames, SHAPE, 0.05, FALCON), SHAPE, FALCON, xml=xml)
    return path


def test_facts_of_the_acquisition(tmp_path: Path) -> None:
    facts = describe(write(tmp_path / "x.eer", xml=metadata(7, 0.64, 0.8), items=ITEMS))
    assert (facts["camera"], facts["serial_number"], facts["acquired"]) == ("Falcon 4i", "1234", ITEMS["timestamp"])
    # the rate follows from the true number of frames, not from that of the metadata
    assert (facts["frames"], facts["frames_in_metadata"], facts["frames_per_second"]) == (10, 7, 4.0)
    assert facts["exposure_seconds"] == 2.5
    assert facts["total_dose"] == pytest.approx(1.0)
    assert facts["dose_per_frame"] == pytest.approx(0.1)
    assert facts["unknown"] == []


@pytest.mark.parametrize("items", [{}, dict.fromkeys(ITEMS, ""), {"exposureTime": "0", "meanDoseRate": "fast"}])
def test_unknown_facts_are_listed(tmp_path: Path, items: dict[str, str]) -> None:
    facts = describe(write(tmp_path / "x.eer", xml=metadata(10, 0.64, 0.8), items=items))
    assert set(facts["unknown"]) == {
        *("camera", "serial_number", "acquired", "exposure_seconds", "frames_per_second", "recorded_dose_rate"),
    }
    assert all(facts[name] is None for name in facts["unknown"])
    bare = describe(write(tmp_path / "y.eer"))
    others = {"frames_in_metadata", "recorded_dose_per_pixel", "pixel_size", "dose_per_frame", "total_dose"}
    assert {*facts["unknown"], *others} == set(bare["unknown"])


def test_the_odd_file_of_a_folder_is_marked(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.eer", xml=metadata(1, 0.64, 0.8))
    write(tmp_path / "below" / "short.eer", 6, metadata(6, 0.64, 0.8))
    write(tmp_path / "strong.eer", xml=metadata(10, 0.9, 0.8))
    write(tmp_path / "bare.eer")
    (tmp_path / "bad.eer").write_bytes(b"no EER")
    (tmp_path / "x.mrc").write_bytes(b"another file")
    rows = {row.path: row for row in eer_rows(tmp_path, Rendering())}
    assert list(rows) == ["0.eer", "1.eer", "2.eer", "bad.eer", "bare.eer", "below/short.eer", "strong.eer"]
    assert rows["1.eer"].differs == ()
    assert rows["below/short.eer"].differs == ("frames",)
    assert rows["strong.eer"].differs == ("total_dose",)
    assert rows["bare.eer"].differs == ("pixel_size", "total_dose")
    assert "not an EER file" in str(rows["bad.eer"].error)
    assert (rows["0.eer"].frames, rows["0.eer"].frames_in_metadata) == (10, 1)
    assert rows["0.eer"].total_dose == pytest.approx(1.0)
    with pytest.raises(FormatError, match="no EER files"):
        eer_rows(tmp_path / "nothing", Rendering())


def test_a_missing_dose_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "recorded.eer", xml=metadata(10, 0.64, 0.8))
    write(tmp_path / "counted.eer", xml=metadata(10, 0, 0.8))
    write(tmp_path / "bare.eer")
    rows = {row.path: row for row in eer_rows(tmp_path, Rendering())}
    assert (rows["recorded.eer"].dose_source, rows["counted.eer"].dose_source) == ("metadata", "counted")
    # 0.05 electrons in a pixel of 0.64 A^2
    assert rows["counted.eer"].dose_per_frame == pytest.approx(0.05 / 0.64, rel=0.1)
    # without a pixel size there is no dose in e/A^2
    assert (rows["bare.eer"].dose_source, rows["bare.eer"].total_dose) == (None, None)
    given = {row.path: row for row in eer_rows(tmp_path, Rendering(pixel_size=0.8))}
    assert given["bare.eer"].dose_per_frame == rows["counted.eer"].dose_per_frame
    assert {row.dose_source for row in eer_rows(tmp_path, Rendering(dose=40))} == {"given"}
    lines = run_in_process("info", tmp_path).stdout.splitlines()
    assert [line.split()[5] for line in lines[1:]] == ["-", "counted", "metadata"]


def test_lines_for_motioncor(tmp_path: Path) -> None:
    path = write(tmp_path / "x.eer", 11, metadata(11, 11 * 0.064, 0.8))
    facts = describe(path, InfoOptions(1, Rendering(grouping=4, leftover="spread")))
    assert (facts["fraction_frames"], facts["dropped_frames"]) == ([[1, 5], [1, 6]], 0)
    assert lines_of_eer(path, facts, keeps_leftover=False) == ["11 4 0.1"]
    facts = describe(path, InfoOptions(1, Rendering(grouping=4, leftover="keep")))
    assert lines_of_eer(path, facts, keeps_leftover=True) == ["8 4 0.1", "3 3 0.1"]
    facts = describe(path, InfoOptions(1, Rendering(grouping=4)))
    assert facts["dropped_frames"] == 3
    with pytest.raises(FormatError, match="unknown dose; pass --eer-dose or --eer-pixel-size"):
        lines_of_eer(path, facts | {"dose_per_frame": None}, keeps_leftover=False)
    shown = {"fraction_frames": [[1, 5], [1, 6]], "frame_dose": 0.1}
    assert lines_of_fractions(path, shown) == ["1 1 0.5", "1 1 0.6"]
    for other, message in ((None, "not an EER file"), (shown | {"frame_dose": None}, "unknown dose")):
        with pytest.raises(FormatError, match=message):
            lines_of_fractions(path, other)
