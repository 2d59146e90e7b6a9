"""The command: all trajectories of a job, or none."""

from pathlib import Path

import pytest

from cryofs.errors import ArchiveError, FormatError, MountError
from cryofs.formats.star import StarFile
from cryofs.trajectory.run import TrajectoryOptions, convert_all
from tests.support import run_in_process
from tests.trajectory.trajectories import MICROGRAPHS, linear_shifts, trajectory

OPTICS = "data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnVoltage #2\n'group 1' 300.0\n\n"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the STAR file of a job with two trajectories, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Job").mkdir()
    for name in "xy":
        (tmp_path / "Job" / f"{name}.star").write_text(trajectory(linear_shifts(10)))
    (tmp_path / "Job" / "corrected.star").write_text(f"# version 30001\n\n{OPTICS}{MICROGRAPHS}\n")
    return Path("Job/corrected.star")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_each_trajectory_is_written_beside_the_old_one(job: Path) -> None:
    done = run_in_process("trajectory", job, "--suffix", "up2_gr8", "--upsampling", "2", "--grouping", "8")
    assert done.stdout == "Job/corrected_up2_gr8.star\n"
    star = StarFile.read(Path("Job/corrected_up2_gr8.star"))
    assert star.column("micrographs", "rlnMicrographMetadata") == ["Job/x_up2_gr8.star", "Job/y_up2_gr8.star"]
    assert star.column("micrographs", "rlnMicrographName") == ["Job/x.mrc", "Job/y.mrc"]
    assert "'group 1' 300.0" in star.text()
    changed = StarFile.read(Path("Job/x_up2_gr8.star"))
    assert changed.value("general", "rlnImageSizeZ") == "30"
    assert changed.value("general", "rlnMicrographMovieName") == "Movies/x.eer"


def test_nothing_is_written_unless_all_can_be(job: Path) -> None:
    before = names(job.parent)
    options = TrajectoryOptions("new", grouping=8)
    Path("Job/y.star").write_text(trajectory(linear_shifts(10), rlnImageSizeZ=4))
    with pytest.raises(FormatError, match=r"Job/y\.star"):
        convert_all(job, options)
    Path("Job/y.star").unlink()
    with pytest.raises(FileNotFoundError):
        convert_all(job, options)
    assert names(job.parent) == before - {"y.star"}


def test_existing_outputs_are_refused_without_overwrite(job: Path) -> None:
    Path("Job/y_new.star").write_text("mine")
    with pytest.raises(ArchiveError, match=r"Job/y_new\.star: already exists"):
        convert_all(job, TrajectoryOptions("new", grouping=8))
    assert not Path("Job/x_new.star").exists()
    convert_all(job, TrajectoryOptions("new", grouping=8, overwrite=True))
    assert StarFile.read(Path("Job/y_new.star")).value("general", "rlnEERGrouping") == "8"


def test_the_old_grouping_must_be_known_and_agree(job: Path) -> None:
    with pytest.raises(FormatError, match=r"grouping mismatch \(expected 24, got --from-grouping 30\); omit"):
        convert_all(job, TrajectoryOptions("new", grouping=8, from_grouping=30))
    unrecorded = trajectory(linear_shifts(10), rlnEERGrouping=None, rlnEERUpsampling=None)
    for name in "xy":
        Path(f"Job/{name}.star").write_text(unrecorded)
    with pytest.raises(FormatError, match="grouping not recorded; pass --from-grouping"):
        convert_all(job, TrajectoryOptions("new", grouping=8))
    with pytest.raises(FormatError, match="upsampling not recorded; pass --from-upsampling"):
        convert_all(job, TrajectoryOptions("new", upsampling=2, from_grouping=24))
    convert_all(job, TrajectoryOptions("new", grouping=8, from_grouping=24))
    # the movie is an EER file, so RELION has to be told how to read it
    star = StarFile.read(Path("Job/x_new.star"))
    assert star.value("general", "rlnEERGrouping") == "8"
    assert star.value("general", "rlnEERUpsampling") == "1"


def test_wrong_inputs_are_named(job: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no rlnMicrographMetadata in data_micrographs"):
        convert_all(Path("Job/x.star"), TrajectoryOptions("new", grouping=8))
    with pytest.raises(MountError, match="not a cryofs mount"):
        convert_all(job, TrajectoryOptions("new", grouping=8, mountpoint=tmp_path))
    job.write_text(MICROGRAPHS.replace("Job/y.star", "Job/x.star"))
    with pytest.raises(FormatError, match=r"duplicate row for Job/x\.star"):
        convert_all(job, TrajectoryOptions("new", grouping=8))
    done = run_in_process("trajectory", job, "--suffix", "new", check=False)
    assert (done.returncode, "neither --grouping nor --upsampling given" in done.stderr) == (2, True)
    done = run_in_process("trajectory", job, "--suffix", "a/b", "--grouping", "8", check=False)
    assert (done.returncode, "pass a part of a file name" in done.stderr) == (2, True)
