"""Fractions of EER movies in the file system, without FUSE."""

import errno
import os
from pathlib import Path

import pytest

from benchmarks.simulate_eer import metadata, random_frames, write_eer
from cryofs.storage.file_state import state_of
from tests.support import listed_in
from tests.vfs.serving import FALCON, SHAPE, content, names, rendered, serving, write_movie


def test_fractions_appear_beside_the_eer_files(eer_archive: Path) -> None:
    with serving(eer_archive) as files:
        assert names(files, "/Movies") == ["a.eer", "a.mrc", "b.mrc.eer", "b.mrc"]
        assert content(files, "/Movies/a.eer") == (eer_archive / "Movies" / "a.eer").read_bytes()
        assert content(files, "/Movies/a.mrc") == rendered(eer_archive / "Movies" / "a.eer", grouping=4)
        assert content(files, "/Movies/b.mrc") == rendered(eer_archive / "Movies" / "b.mrc.eer", grouping=4)
        for name in ("/Movies/a.mrcs", "/Movies/b.mrc.mrc", "/Movies/x.mrc", "/notes.mrc"):
            with pytest.raises(FileNotFoundError):
                files.attributes(name)


def test_attributes_of_fractions(eer_archive: Path) -> None:
    source = eer_archive / "c.eer"
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 7))
    with serving(eer_archive) as files:
        shown, raw = files.attributes("/c.mrc"), files.attributes("/c.eer")
        assert (shown.mode, shown.mtime_ns) == (raw.mode, raw.mtime_ns) == (source.stat().st_mode, 10**18 + 7)
        assert shown.size == 1024 + 2 * 2 * SHAPE[0] * SHAPE[1]
        inodes = [files.attributes(path).inode for path in ("/c.mrc", "/c.eer", "/@up2_gr8/c.mrc", "/@up2_gr4/c.mrc")]
        assert len(set(inodes)) == 4
        listed = dict(listed_in(files, "/"))
        assert listed["c.mrc"].inode == shown.inode


def test_folders_called_like_eer_files_are_left_alone(eer_archive: Path) -> None:
    (eer_archive / "d.eer").mkdir()
    (eer_archive / "e.eer").symlink_to("d.eer")
    with serving(eer_archive) as files:
        assert {"d.mrc", "e.mrc"} & set(names(files, "/")) == set()
        for name in ("/d.mrc", "/e.mrc"):
            with pytest.raises(FileNotFoundError):
                files.attributes(name)


def test_settings_decide_on_the_rendering(eer_archive: Path) -> None:
    with serving(eer_archive, eer_grouping=3, eer_upsampling=2, eer_dtype="float32", eer_leftover="keep") as files:
        choices = {"grouping": 3, "upsampling": 2, "dtype": "float32", "leftover": "keep"}
        assert content(files, "/c.mrc") == rendered(eer_archive / "c.eer", **choices)
        assert content(files, "/@up1_gr4/c.mrc") == rendered(
            eer_archive / "c.eer", **choices | {"upsampling": 1, "grouping": 4}
        )


def test_a_broken_eer_file_does_not_affect_others(eer_archive: Path) -> None:
    (eer_archive / "broken.eer").write_bytes((eer_archive / "c.eer").read_bytes()[:3000])
    with serving(eer_archive) as files:
        for view in ("/", "/@up2_gr8/", "/@counts/"):
            assert "broken.eer" in names(files, view)
            assert "broken.mrc" not in names(files, view)
            with pytest.raises(FileNotFoundError):
                files.attributes(view + "broken.mrc")
        assert len(content(files, "/broken.eer")) == 3000
        assert content(files, "/c.mrc") == rendered(eer_archive / "c.eer", grouping=4)


def test_damage_is_reported_by_the_mount_and_by_the_file(eer_archive: Path) -> None:
    frames = list(random_frames(10, SHAPE, 0.05, FALCON, 2))
    data = bytearray((eer_archive / "c.eer").read_bytes())
    place = data.index(frames[5]) + 100
    data[place : place + 8] = bytes(8)
    (eer_archive / "c.eer").write_bytes(data)
    with serving(eer_archive) as files:
        before = files.file_facts("/c.mrc")
        content(files, "/c.mrc")
        content(files, "/@up2_gr5/c.mrc")
        facts = files.file_facts("/c.mrc")
        assert before is not None
        assert facts is not None
        assert (before["overflow_bits"], facts["overflow_bits"]) == (None, 7)
        assert (facts["damaged_frames"], facts["source_frames"], facts["fractions"]) == ([5], 10, 2)
        assert files.facts()["eer_damaged_frames"] == 1
        assert files.file_facts("/notes.txt") is None


def test_findings_are_those_of_the_last_state_of_each_file(eer_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(eer_archive) as files:
        kept = files._findings.of(state_of((eer_archive / "c.eer").stat()), str(eer_archive / "c.eer"))
        content(files, "/c.mrc")
        assert files._findings.every() == [kept]
        for second in range(5):
            os.utime(eer_archive / "c.eer", (second, second))
            content(files, "/c.mrc")
        assert list(files._findings._table) == [str(eer_archive / "c.eer")]
        assert files._findings._table[str(eer_archive / "c.eer")][1] is not kept
        monkeypatch.setattr("cryofs.vfs.findings._KNOWN_FINDINGS", 3)
        for number in range(5):
            write_movie(eer_archive / f"{number}.eer", seed=number)
            content(files, f"/{number}.mrc")
        assert list(files._findings._table) == [str(eer_archive / f"{number}.eer") for number in (2, 3, 4)]


def test_fractions_of_a_replaced_file(eer_archive: Path) -> None:
    with serving(eer_archive) as files:
        handle = files.open("/c.mrc")
        before = content(files, "/c.mrc")
        write_movie(eer_archive / "new", frames=8, seed=9).rename(eer_archive / "c.eer")
        assert content(files, "/c.mrc") == rendered(eer_archive / "c.eer", grouping=4) != before
        data = files.read(handle, len(before), 0)
        assert bytes(data) == before
        files.release(handle)


def test_names_as_long_as_they_may_be(eer_archive: Path) -> None:
    long = "r" * 251
    (eer_archive / f"{long}.mrc").write_bytes(b"a file of its own")
    write_movie(eer_archive / f"{'e' * 251}.eer", seed=5)
    with serving(eer_archive) as files:
        assert content(files, f"/{long}.mrc") == b"a file of its own"
        shown = content(files, f"/{'e' * 251}.mrc")
        assert shown == rendered(eer_archive / f"{'e' * 251}.eer", grouping=4)
        for length, code in ((252, errno.ENOENT), (255, errno.ENOENT), (256, errno.ENAMETOOLONG)):
            for place in ("/", "/@counts/"):
                with pytest.raises(OSError, match=r".") as found:
                    files.attributes(place + "n" * (length - 4) + ".mrc")
                assert found.value.errno == code


def test_drafts_have_no_fractions(eer_archive: Path) -> None:
    (eer_archive / "c.eer").rename(eer_archive / ".cryofs-draft-1.eer")
    with serving(eer_archive) as files, pytest.raises(FileNotFoundError):
        files.attributes("/.cryofs-draft-1.mrc")


def test_the_dose_of_a_fraction_gives_each_movie_its_grouping(tmp_path: Path) -> None:
    for name, mean, dose in (("recorded", 0.05, 0.5), ("counted", 0.05, 0), ("twice", 0.1, 0)):
        xml = metadata(10, dose, 0.7)
        write_eer(tmp_path / f"{name}.eer", random_frames(10, SHAPE, mean, FALCON), SHAPE, FALCON, xml=xml)
    wanted = {"recorded": 4, "counted": 4, "twice": 2}
    for _ in range(2):
        # the second mount takes the counted doses from the index of the first
        with serving(tmp_path, eer_dose_per_fraction=0.2 / 0.49, eer_leftover="spread") as files:
            for name, grouping in wanted.items():
                facts = files.file_facts(f"/{name}.mrc")
                assert facts is not None
                assert facts["grouping"] == grouping
                assert facts["frame_dose"] == pytest.approx(0.2 / 0.49 / grouping, rel=0.1)
                choices = {"grouping": grouping, "leftover": "spread"}
                assert content(files, f"/{name}.mrc") == rendered(tmp_path / f"{name}.eer", **choices)
            assert content(files, "/@up1_gr5/counted.mrc") == rendered(
                tmp_path / "counted.eer", grouping=5, leftover="spread"
            )
    with serving(tmp_path, eer_grouping=4, eer_leftover="spread") as files:
        facts = files.file_facts("/counted.mrc")
        assert facts is not None
        assert (facts["fraction_frames"], facts["frame_dose"]) == ([[2, 5]], None)
    with serving(tmp_path, eer_dose_per_fraction=3.0, eer_dose=10.0) as files:
        facts = files.file_facts("/counted.mrc")
        assert facts is not None
        assert (facts["fraction_frames"], facts["frame_dose"]) == ([[3, 3]], 1.0)


def test_movies_are_listed_whose_grouping_follows_from_a_counted_dose(eer_archive: Path) -> None:
    with serving(eer_archive, eer_dose_per_fraction=0.3, eer_pixel_size=0.8) as files:
        assert names(files, "/Movies") == ["a.eer", "a.mrc", "b.mrc.eer", "b.mrc"]
