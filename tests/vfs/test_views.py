"""EER movies and views in the file system, without FUSE."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.config.settings import Settings, Size
from cryofs.errors import DamagedError, GainError
from cryofs.formats.record import read_record
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.file_state import state_of
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.page_cache_policy import Pages
from tests.support import DETECTOR, archive, listed_in, movie_values, simulated, wait_for

SHAPE = (64, 48)
FALCON = Widths()
GAIN = np.random.default_rng(3).uniform(0.8, 1.2, SHAPE).astype(np.float32)


@contextlib.contextmanager
def serving(folder: Path, **settings: object) -> Iterator[FileSystem]:
    files = FileSystem(folder, Settings(jobs=2, eer_grouping=settings.pop("eer_grouping", 4), **settings))  # type: ignore[arg-type]
    files.start()
    try:
        yield files
    finally:
        files.stop()


def content(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        size = files.attributes(path).size
        data = files.read(handle, size + 10, 0)
        assert len(data) == size
        return data if isinstance(data, bytes) else data.tobytes()
    finally:
        files.release(handle)


def names(files: FileSystem, path: str) -> list[str]:
    return [name for name, _ in listed_in(files, path)]


def rendered(path: Path, **choices: object) -> bytes:
    with EerMovie(path, Rendering(**choices), EerGains()) as movie:  # type: ignore[arg-type]
        return movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.shape[0]))


def write_movie(path: Path, frames: int = 10, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    xml = metadata(frames, 0.5, 0.7)
    write_eer(path, random_frames(frames, SHAPE, 0.05, FALCON, seed), SHAPE, FALCON, xml=xml)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive with EER movies in several places and a gain reference."""
    root = tmp_path / "archive"
    write_movie(root / "Movies" / "a.eer")
    write_movie(root / "Movies" / "b.mrc.eer", seed=1)
    write_movie(root / "c.eer", seed=2)
    (root / "notes.txt").write_text("300 kV")
    tifffile.imwrite(root / "falcon.gain", GAIN)
    return root


def test_fractions_appear_beside_the_eer_files(folder: Path) -> None:
    with serving(folder) as files:
        assert names(files, "/Movies") == ["a.eer", "a.mrc", "b.mrc.eer", "b.mrc"]
        assert content(files, "/Movies/a.eer") == (folder / "Movies" / "a.eer").read_bytes()
        assert content(files, "/Movies/a.mrc") == rendered(folder / "Movies" / "a.eer", grouping=4)
        assert content(files, "/Movies/b.mrc") == rendered(folder / "Movies" / "b.mrc.eer", grouping=4)
        for name in ("/Movies/a.mrcs", "/Movies/b.mrc.mrc", "/Movies/x.mrc", "/notes.mrc"):
            with pytest.raises(FileNotFoundError):
                files.attributes(name)


def test_attributes_of_fractions(folder: Path) -> None:
    source = folder / "c.eer"
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 7))
    with serving(folder) as files:
        shown, raw = files.attributes("/c.mrc"), files.attributes("/c.eer")
        assert (shown.mode, shown.mtime_ns) == (raw.mode, raw.mtime_ns) == (source.stat().st_mode, 10**18 + 7)
        assert shown.size == 1024 + 2 * 2 * SHAPE[0] * SHAPE[1]
        inodes = [files.attributes(path).inode for path in ("/c.mrc", "/c.eer", "/@up2_gr8/c.mrc", "/@up2_gr4/c.mrc")]
        assert len(set(inodes)) == 4
        listed = dict(listed_in(files, "/"))
        assert listed["c.mrc"].inode == shown.inode


@pytest.mark.parametrize(("upsampling", "grouping"), [(1, 1), (2, 8), (2, 3), (4, 10)])
def test_views_of_other_renderings(folder: Path, upsampling: int, grouping: int) -> None:
    with serving(folder) as files:
        view = f"/@up{upsampling}_gr{grouping}"
        assert names(files, view) == ["Movies", "c.eer", "c.mrc", "falcon.gain", "notes.txt"]
        expected = rendered(folder / "c.eer", grouping=grouping, upsampling=upsampling)
        assert content(files, view + "/c.mrc") == expected
        assert content(files, view + "/notes.txt") == b"300 kV"
        nested = rendered(folder / "Movies" / "a.eer", grouping=grouping, upsampling=upsampling)
        assert content(files, view + "/Movies/a.mrc") == nested


def test_views_are_found_but_not_listed(folder: Path) -> None:
    with serving(folder) as files:
        assert names(files, "/") == ["Movies", "c.eer", "c.mrc", "falcon.gain", "notes.txt"]
        for name in (
            "/@up3_gr8",
            "/@up2_gr0",
            "/@up2_gr",
            "/@up2_gr8x",
            "/@nothing",
            "/Movies/@up2_gr8",
            "/@counts/@archive",
        ):
            with pytest.raises(FileNotFoundError):
                files.attributes(name)


def test_real_names_win(folder: Path) -> None:
    (folder / "c.mrc").write_bytes(b"a file of its own")
    write_movie(folder / "@up2_gr8" / "d.eer", seed=4)
    simulated(folder.with_name("session") / "Movies" / "a.mrc", frames=4)
    archive(folder.with_name("session"), folder)
    with serving(folder) as files:
        assert content(files, "/c.mrc") == b"a file of its own"
        original = (folder.with_name("session") / "Movies" / "a.mrc").read_bytes()
        assert content(files, "/Movies/a.mrc") == original
        assert names(files, "/Movies").count("a.mrc") == 1
        # the view of that name gives way to the folder
        assert names(files, "/@up2_gr8") == ["d.eer", "d.mrc"]
        assert content(files, "/@up2_gr8/d.mrc") == rendered(folder / "@up2_gr8" / "d.eer", grouping=4)


def test_folders_called_like_eer_files_are_left_alone(folder: Path) -> None:
    (folder / "d.eer").mkdir()
    (folder / "e.eer").symlink_to("d.eer")
    with serving(folder) as files:
        assert {"d.mrc", "e.mrc"} & set(names(files, "/")) == set()
        for name in ("/d.mrc", "/e.mrc"):
            with pytest.raises(FileNotFoundError):
                files.attributes(name)


def test_settings_decide_on_the_rendering(folder: Path) -> None:
    with serving(folder, eer_grouping=3, eer_upsampling=2, eer_dtype="float32", eer_leftover="keep") as files:
        choices = {"grouping": 3, "upsampling": 2, "dtype": "float32", "keep_leftover": True}
        assert content(files, "/c.mrc") == rendered(folder / "c.eer", **choices)
        assert content(files, "/@up1_gr4/c.mrc") == rendered(
            folder / "c.eer", **choices | {"upsampling": 1, "grouping": 4}
        )


def test_the_gain_reference_appears_beside_the_fractions(folder: Path) -> None:
    (folder / "empty").mkdir()
    with serving(folder, eer_gain=str(folder / "falcon.gain")) as files:
        for place, factor in (("/", 1), ("/Movies/", 1), ("/@up2_gr8/", 2), ("/@up4_gr3/Movies/", 4)):
            assert "gain-reference.mrc" in names(files, place)
            data = content(files, place + "gain-reference.mrc")
            header = np.frombuffer(data[:16], np.int32).tolist()
            assert header == [SHAPE[1] * factor, SHAPE[0] * factor, 1, 2]
            gain = np.frombuffer(data[1024:], np.float32).reshape(SHAPE[0] * factor, SHAPE[1] * factor)
            np.testing.assert_array_equal(gain, GAIN.repeat(factor, 0).repeat(factor, 1))
        assert names(files, "/empty") == []
        with pytest.raises(FileNotFoundError):
            files.attributes("/empty/gain-reference.mrc")


def test_fractions_multiplied_with_the_gain_need_no_reference(folder: Path) -> None:
    with serving(folder, eer_gain=str(folder / "falcon.gain"), eer_apply_gain=True) as files:
        assert "gain-reference.mrc" not in names(files, "/")
        choices = {"grouping": 4, "gain": folder / "falcon.gain", "apply_gain": True}
        assert content(files, "/c.mrc") == rendered(folder / "c.eer", **choices)


def test_values_that_cannot_be_a_gain_are_logged_with_the_name_of_the_file(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gain = GAIN.copy()
    gain[2, 3] = np.nan
    tifffile.imwrite(folder / "falcon.gain", gain)
    with serving(folder, eer_gain=str(folder / "falcon.gain")) as files:
        for view in ("/", "/Movies/", "/@up2_gr8/"):
            shown = np.frombuffer(content(files, f"{view}gain-reference.mrc")[1024:], np.float32)
            assert np.isfinite(shown).all()
    (line,) = [message for message in caplog.messages if "without a valid gain" in message]
    assert line.startswith(f"{folder}/falcon.gain: 1 pixel without")
    assert line.endswith(": row 2 column 3")


def test_a_gain_that_is_replaced_counts_for_what_is_opened_from_then_on(folder: Path, tmp_path: Path) -> None:
    gain, other = folder / "falcon.gain", tmp_path / "other.gain"
    tifffile.imwrite(other, 2 * GAIN)
    choices = {"grouping": 4, "gain": gain, "apply_gain": True}
    movie, half = rendered(folder / "c.eer", **choices), 1024 + GAIN.nbytes // 2
    for path, old, apply in (("/c.mrc", movie, True), ("/gain-reference.mrc", GAIN.tobytes(), False)):
        tifffile.imwrite(gain, GAIN)
        with serving(folder, eer_gain=str(gain), eer_apply_gain=apply, cache_size=Size(1)) as files:
            before = files.open(path)
            first = bytes(files.read(before, half, 0))
            Path(shutil.copy(other, tmp_path / "copy.gain")).replace(gain)
            after = files.open(path)
            assert (first + bytes(files.read(before, len(movie), half))).endswith(old)
            assert files.pages(after) is Pages.BYPASS
            files.release(before)
            files.release(after)
            assert files.pages(files.open(path)) is Pages.DROP
            new = rendered(folder / "c.eer", **choices) if apply else (2 * GAIN).tobytes()
            assert content(files, path).endswith(new)


def test_a_gain_reference_that_is_not_there(folder: Path) -> None:
    with pytest.raises(GainError, match=r"nowhere\.gain: gain reference does not exist; correct --eer-gain"):
        FileSystem(folder, Settings(eer_gain="/nowhere.gain"))


def test_a_broken_eer_file_hurts_nobody_else(folder: Path) -> None:
    (folder / "broken.eer").write_bytes((folder / "c.eer").read_bytes()[:3000])
    with serving(folder) as files:
        for view in ("/", "/@up2_gr8/", "/@counts/"):
            assert "broken.eer" in names(files, view)
            assert "broken.mrc" not in names(files, view)
            with pytest.raises(FileNotFoundError):
                files.attributes(view + "broken.mrc")
        assert len(content(files, "/broken.eer")) == 3000
        assert content(files, "/c.mrc") == rendered(folder / "c.eer", grouping=4)


def test_damage_is_told_by_the_mount_and_by_the_file(folder: Path) -> None:
    frames = list(random_frames(10, SHAPE, 0.05, FALCON, 2))
    data = bytearray((folder / "c.eer").read_bytes())
    place = data.index(frames[5]) + 100
    data[place : place + 8] = bytes(8)
    (folder / "c.eer").write_bytes(data)
    with serving(folder) as files:
        content(files, "/c.mrc")
        content(files, "/@up2_gr5/c.mrc")
        facts = files.file_facts("/c.mrc")
        assert facts is not None
        assert (facts["damaged_frames"], facts["source_frames"], facts["fractions"]) == ([5], 10, 2)
        assert files.facts()["eer_damaged_frames"] == 1
        assert files.file_facts("/notes.txt") is None


def test_what_was_found_wrong_is_kept_for_the_last_state_of_each_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder) as files:
        kept = files._findings.of(state_of((folder / "c.eer").stat()), str(folder / "c.eer"))
        content(files, "/c.mrc")
        assert files._findings.every() == [kept]
        for second in range(5):
            os.utime(folder / "c.eer", (second, second))
            content(files, "/c.mrc")
        assert list(files._findings._table) == [str(folder / "c.eer")]
        assert files._findings._table[str(folder / "c.eer")][1] is not kept
        monkeypatch.setattr("cryofs.vfs.findings._KNOWN_FINDINGS", 3)
        for number in range(5):
            write_movie(folder / f"{number}.eer", seed=number)
            content(files, f"/{number}.mrc")
        assert list(files._findings._table) == [str(folder / f"{number}.eer") for number in (2, 3, 4)]


def test_fractions_of_a_replaced_file(folder: Path) -> None:
    with serving(folder) as files:
        handle = files.open("/c.mrc")
        before = content(files, "/c.mrc")
        write_movie(folder / "new", frames=8, seed=9).rename(folder / "c.eer")
        assert content(files, "/c.mrc") == rendered(folder / "c.eer", grouping=4) != before
        data = files.read(handle, len(before), 0)
        assert bytes(data) == before
        files.release(handle)


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


def test_a_gain_reference_that_went_away_costs_no_listing(folder: Path) -> None:
    with serving(folder, eer_gain=str(folder / "falcon.gain")) as files:
        assert "gain-reference.mrc" in names(files, "/")
        (folder / "falcon.gain").unlink()
        assert "gain-reference.mrc" not in names(files, "/")
        assert content(files, "/c.mrc") == rendered(folder / "c.eer", grouping=4)


def test_names_that_are_no_text(folder: Path) -> None:
    odd = folder / os.fsdecode(b"d\xff")
    write_movie(odd / "x.eer", seed=5)
    with serving(folder, eer_gain=str(folder / "falcon.gain")) as files:
        assert names(files, f"/{odd.name}") == ["x.eer", "x.mrc", "gain-reference.mrc"]
        assert content(files, f"/{odd.name}/x.mrc") == rendered(odd / "x.eer", grouping=4)


def test_names_as_long_as_they_may_be(folder: Path) -> None:
    long = "r" * 251
    (folder / f"{long}.mrc").write_bytes(b"a file of its own")
    write_movie(folder / f"{'e' * 251}.eer", seed=5)
    with serving(folder) as files:
        assert content(files, f"/{long}.mrc") == b"a file of its own"
        shown = content(files, f"/{'e' * 251}.mrc")
        assert shown == rendered(folder / f"{'e' * 251}.eer", grouping=4)
        for length, code in ((252, errno.ENOENT), (255, errno.ENOENT), (256, errno.ENAMETOOLONG)):
            for place in ("/", "/@counts/"):
                with pytest.raises(OSError, match=r".") as found:
                    files.attributes(place + "n" * (length - 4) + ".mrc")
                assert found.value.errno == code


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


def test_drafts_make_no_fractions(folder: Path) -> None:
    (folder / "c.eer").rename(folder / ".cryofs-draft-1.eer")
    with serving(folder) as files, pytest.raises(FileNotFoundError):
        files.attributes("/.cryofs-draft-1.mrc")
