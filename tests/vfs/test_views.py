"""Views of an archive in the file system, without FUSE."""

import contextlib
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryofs.errors import DamagedError
from cryofs.formats.record import read_record
from cryofs.storage.byte_source import LocalFile
from tests.support import DETECTOR, archive, movie_values, simulated, wait_for
from tests.vfs.serving import content, names, rendered, serving, write_movie


@pytest.mark.parametrize(("upsampling", "grouping"), [(1, 1), (2, 8), (2, 3), (4, 10)])
def test_views_of_other_renderings(eer_archive: Path, upsampling: int, grouping: int) -> None:
    with serving(eer_archive) as files:
        view = f"/@up{upsampling}_gr{grouping}"
        assert names(files, view) == ["Movies", "c.mrc", "c.eer", "falcon.gain", "notes.txt"]
        expected = rendered(eer_archive / "c.eer", grouping=grouping, upsampling=upsampling)
        assert content(files, view + "/c.mrc") == expected
        assert content(files, view + "/notes.txt") == b"300 kV"
        nested = rendered(eer_archive / "Movies" / "a.eer", grouping=grouping, upsampling=upsampling)
        assert content(files, view + "/Movies/a.mrc") == nested


@pytest.mark.parametrize(("upsampling", "crop", "grouping"), [(2, 1, 8), (4, 2, 3), (4, 1, 1)])
def test_views_cropped_in_fourier_space(eer_archive: Path, upsampling: int, crop: int, grouping: int) -> None:
    view = f"/@up{upsampling}crop{crop}_gr{grouping}"
    gain = eer_archive / "falcon.gain"
    for given in (None, gain):
        with serving(eer_archive, eer_gain=given and str(given)) as files:
            # the gain is applied before, so no reference is beside
            assert names(files, view) == ["Movies", "c.mrc", "c.eer", "falcon.gain", "notes.txt"]
            with pytest.raises(FileNotFoundError):
                files.attributes(f"{view}/gain-reference.mrc")
            choices = {"grouping": grouping, "upsampling": upsampling, "crop": crop, "gain": given}
            assert content(files, f"{view}/c.mrc") == rendered(eer_archive / "c.eer", **choices)
            assert content(files, f"{view}/Movies/a.mrc") == rendered(eer_archive / "Movies" / "a.eer", **choices)
            facts = files.file_facts(f"{view}/c.mrc")
            assert facts is not None
            assert (facts["upsampling"], facts["crop"], facts["scale"]) == (upsampling, crop, 1.0)


def test_the_main_view_may_be_cropped(eer_archive: Path) -> None:
    with serving(eer_archive, eer_upsampling=2, eer_crop=1) as files:
        assert content(files, "/c.mrc") == rendered(eer_archive / "c.eer", grouping=4, upsampling=2, crop=1)
        assert content(files, "/@up2_gr4/c.mrc") == rendered(eer_archive / "c.eer", grouping=4, upsampling=2)


@pytest.mark.parametrize(
    ("mounted", "shown"), [(None, None), ("int16", "int16"), ("float32", None), ("uint16", None), ("int8", None)]
)
def test_a_cropped_view_takes_the_pixel_type_of_the_mount_if_it_can(
    eer_archive: Path, mounted: str | None, shown: str | None
) -> None:
    with serving(eer_archive, eer_dtype=mounted) as files:
        expected = rendered(eer_archive / "c.eer", grouping=8, upsampling=2, crop=1, dtype=shown)
        assert content(files, "/@up2crop1_gr8/c.mrc") == expected


def test_views_are_found_but_not_listed(eer_archive: Path) -> None:
    with serving(eer_archive) as files:
        assert names(files, "/") == ["Movies", "c.mrc", "c.eer", "falcon.gain", "notes.txt"]
        for name in (
            "/@up3_gr8",
            "/@up2_gr0",
            "/@up2_gr",
            "/@up2_gr8x",
            "/@up1crop1_gr8",
            "/@up2crop2_gr8",
            "/@up4crop4_gr8",
            "/@nothing",
            "/Movies/@up2_gr8",
            "/@counts/@archive",
        ):
            with pytest.raises(FileNotFoundError):
                files.attributes(name)


def test_real_names_win(eer_archive: Path) -> None:
    (eer_archive / "c.mrc").write_bytes(b"a file of its own")
    write_movie(eer_archive / "@up2_gr8" / "d.eer", seed=4)
    simulated(eer_archive.with_name("session") / "Movies" / "a.mrc", frames=4)
    archive(eer_archive.with_name("session"), eer_archive)
    with serving(eer_archive) as files:
        assert content(files, "/c.mrc") == b"a file of its own"
        original = (eer_archive.with_name("session") / "Movies" / "a.mrc").read_bytes()
        assert content(files, "/Movies/a.mrc") == original
        assert names(files, "/Movies").count("a.mrc") == 1
        # the view of that name gives way to the folder
        assert names(files, "/@up2_gr8") == ["d.mrc", "d.eer"]
        assert content(files, "/@up2_gr8/d.mrc") == rendered(eer_archive / "@up2_gr8" / "d.eer", grouping=4)


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """An archive with gain-normalised movies, one in a subfolder, and a movie of counts."""
    session = tmp_path / "session"
    for number in range(3):
        simulated(session / "Movies" / f"{number}.mrc", frames=20, seed=number)
    values = np.random.default_rng(0).poisson(1, (3, *DETECTOR.shape)).astype(np.int8)
    mrcfile.write(session / "counting.mrc", values)
    archive(session, tmp_path / "archive")
    return tmp_path / "archive"


def test_movies_as_counts(counted: Path, tmp_path: Path) -> None:
    with serving(counted) as files:
        assert names(files, "/@counts/Movies") == ["0.mrc", "1.mrc", "2.mrc", "gain-reference.mrc"]
        reference = content(files, "/@counts/Movies/gain-reference.mrc")
        assert reference == content(files, "/@counts/gain-reference.mrc")
        assert reference == (counted / "gain-reference.mrc").read_bytes()
        (tmp_path / "counts.mrc").write_bytes(content(files, "/@counts/Movies/1.mrc"))
        original = content(files, "/Movies/1.mrc")
        assert content(files, "/@counts/counting.mrc") == content(files, "/counting.mrc")
        with pytest.raises(FileNotFoundError):
            files.attributes("/Movies/gain-reference.mrc")
    gain = np.frombuffer(reference[1024:], np.float32).reshape(DETECTOR.shape)
    with mrcfile.open(tmp_path / "counts.mrc", permissive=True) as read:
        counts = read.data
        assert (counts.dtype, counts.shape) == (np.int16, (20, *DETECTOR.shape))
    values = np.frombuffer(original[1024:], np.float32).reshape(counts.shape)
    np.testing.assert_array_equal(values, movie_values(20, 1))
    same = counts.astype(np.float32) * gain == values
    # the others are defects, whose values are no products
    assert np.count_nonzero(~same) <= 20 * len(DETECTOR.defects)


def test_the_archive_itself(counted: Path) -> None:
    with serving(counted) as files:
        assert names(files, "/@archive") == sorted(path.name for path in counted.iterdir())
        for path in counted.rglob("*"):
            if path.is_file():
                assert content(files, f"/@archive/{path.relative_to(counted)}") == path.read_bytes()
        with pytest.raises(FileNotFoundError):
            files.attributes("/@archive/Movies/0.mrc")


def test_what_cannot_be_opened_leaves_nothing_open(counted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the indexer opens files of its own
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    path = counted / "Movies" / "0.mrc.tif"
    with path.open("r+b") as file:
        header = read_record(LocalFile(file.fileno(), "", is_owned=False)).header
        file.seek(header.offset + 5)
        file.write(bytes(8))
    with serving(counted) as files:
        for _ in range(5):
            with pytest.raises(DamagedError):
                files.open("/@counts/Movies/0.mrc")
        # the indexer may be looking at it too, for a moment
        wait_for(lambda: not any(place.endswith("/Movies/0.mrc.tif") for place in open_places()))


def open_places() -> list[str]:
    """What the descriptors of this process refer to."""
    places = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            places.append(str(descriptor.readlink()))
    return places
