"""Damaged archives: reading a damaged file returns the original bytes or an error."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryofs.codecs import lzw
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.errors import CryofsError, DamagedError
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import InMemoryFrame
from cryofs.movies.provider import InfoOptions
from cryofs.movies.registry import describe, open_movie
from tests.corpus import run
from tests.corpus.changes import patched
from tests.corpus.eer_specimens import OVERFLOW_WIDTHS
from tests.corpus.mutants import Mutant, mutants, places_of, systematic
from tests.corpus.reading import examine
from tests.corpus.run import MEMORY, damage_run
from tests.corpus.specimen import Specimen
from tests.corpus.specimens import make_specimens
from tests.corpus.walker import directories
from tests.outcomes import verified
from tests.support import archive, movie_values, simulated


@pytest.fixture(name="specimens", scope="module")
def made_specimens(tmp_path_factory: pytest.TempPathFactory) -> list[Specimen]:
    return make_specimens(tmp_path_factory.mktemp("specimens"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an archive of one movie with all parts: exceptions, trailing bytes, a gain reference."""
    folder = tmp_path_factory.mktemp("corpus")
    movie = simulated(folder / "movie.mrc", frames=8)
    values = movie_values(8)
    values[2, 7] = np.nan
    movie.write_bytes(movie.read_bytes()[:1024] + values.tobytes() + b"trailing bytes")
    archive(movie, folder / "archive")
    return folder


def read_whole(path: Path) -> bytes:
    with open_movie(path, GainLibrary()) as movie:
        frames = [movie.mrc_frame(index).tobytes() for index in range(movie.layout.frames)]
        tail = movie.read_trailing(1 << 20, 0)
        return movie.header + b"".join(frames) + tail


def test_a_run_violates_no_guarantee(tmp_path: Path) -> None:
    # every family of damage of every kind of file, and random damage besides; `make damage` has thousands
    damage = damage_run(60, 20, tmp_path)
    assert damage.problems == []
    assert damage.files == 60
    assert damage.good
    # every command reported damage of every kind that affects it
    assert {"DamagedError", "GainError", "SettingsError"} <= damage.errors.keys()
    commands = {f"cryofs {name}" for name in ("info", "verify", "extract", "compress", "estimate-gain")}
    assert commands <= damage.errors.keys()
    assert 0 < damage.intact < 30
    assert 0 < damage.peak_bytes < MEMORY


def test_a_seed_determines_the_mutants(specimens: list[Specimen]) -> None:
    def labelled(made: list[Mutant]) -> list[tuple[str, bytes | None]]:
        return [(str(mutant), mutant.data) for mutant in made]

    one, same, other = (list(mutants(specimens, 40, seed)) for seed in (3, 3, 4))
    assert labelled(one) == labelled(same)
    assert labelled(one) != labelled(other)
    assert all(mutant.data != mutant.specimen.data for mutant in one)


@pytest.mark.parametrize("kind", ["archived", "adopted", "eer", "foreign", "source", "packed", "normalised"])
def test_specimens_are_intact(specimens: list[Specimen], tmp_path: Path, kind: str) -> None:
    for specimen in specimens:
        if specimen.kind == kind:
            finding = examine(Mutant(specimen, "nothing was done to it", specimen.data), tmp_path)
            assert finding.wrong_bytes + finding.broken == []
            assert finding.errors == [] or kind in ("foreign", "source")


@pytest.mark.parametrize("name", OVERFLOW_WIDTHS)
def test_damaged_frames_of_both_overflow_rules(specimens: list[Specimen], tmp_path: Path, name: str) -> None:
    specimen = next(one for one in specimens if one.name == name)
    facts = describe(specimen.folder / specimen.file, InfoOptions())
    assert facts["overflow_bits"] == OVERFLOW_WIDTHS[name].long_bits
    rng = random.Random(3)
    for directory in directories(specimen.data):
        # in the events of a frame
        (place, size), *_ = directory.strips
        damaged = patched(specimen.data, place, rng.randbytes(size))
        finding = examine(Mutant(specimen, f"{size} bytes from {place} overwritten", damaged), tmp_path)
        assert finding.wrong_bytes + finding.broken == [], place


def test_every_truncation_at_a_boundary_is_reported(specimens: list[Specimen], tmp_path: Path) -> None:
    for specimen in specimens:
        if specimen.kind == "archived":
            path = tmp_path / "short.mrc.tif"
            for end in places_of(specimen)[:-1]:
                path.write_bytes(specimen.data[:end])
                with pytest.raises(CryofsError, match=r"short\.mrc\.tif"):
                    read_whole(path)


# damage that once caused an error: specimen and label
FOUND = [
    ("float", "directory 3 leads to 8"),
    ("huffman", "deeply nested"),
    ("huffman", "bomb"),
    ("lzw", "a strip that is"),
    ("lzw", "original.mode = 9223372036854775808"),
    ("lzw", "original.bytes = 1"),
    ("lzw", "original.atime_ns = -1180591620717411303424"),
    ("lzw", "rows_per_strip = 0"),
    ("lzw", "shape.1 = 2147483647"),
    ("none", "frames.3.byte_counts.0 = 9223372036854775807"),
    ("none", "header.stored = 9223372036854775807"),
    ("none", "stored_dtype = str of 100000"),
    ("state", "cut at 0"),
    ("state", "cut at 146483"),
    ("settings", "nested"),
    ("settings", "a long number"),
    ("settings", "a gain with a long name"),
    ("list.lst", "one long line"),
    ("list.lst", "a long name"),
    ("source", "nsymbt = 2 (<)"),
    ("eer-gain", "type 99"),
    ("adopted", "tag 257, value 7"),
    ("adopted", "tag 256 is 1 everywhere"),
    ("adopted", "adopted.bytes = "),
    ("rendered", "rendered.bytes = 0"),
]


@pytest.mark.parametrize(("name", "label"), FOUND)
def test_damage_that_once_caused_errors(specimens: list[Specimen], tmp_path: Path, name: str, label: str) -> None:
    specimen = next(one for one in specimens if one.name == name)
    tried = [idea.mutant() for idea in systematic(specimen) if label in idea.label]
    assert tried
    for mutant in tried[:8]:
        finding = examine(mutant, tmp_path)
        assert finding.wrong_bytes + finding.broken == [], mutant


def test_malicious_files_take_little_memory_and_time(
    specimens: list[Specimen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading process has a limit of a gigabyte and a minute per file."""
    families = {"adopted": ["claims"], "none": ["claims"], "eer": ["hostile_eers"], "foreign": ["hostile_tiffs"]}
    made = [
        idea.mutant()
        for specimen in specimens
        for idea in systematic(specimen)
        if idea.family in families.get(specimen.name, [])
    ]
    monkeypatch.setattr(run, "make_specimens", lambda _: [])
    monkeypatch.setattr(run, "mutants", lambda *_: iter(made))
    damage = damage_run(len(made), 0, tmp_path)
    assert damage.problems == []
    assert damage.files == len(made) == 22
    assert damage.peak_bytes < MEMORY


def test_wrong_bytes_are_detected(specimens: list[Specimen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specimen = next(one for one in specimens if one.name == "none")
    monkeypatch.setattr(
        ArchivedMovie, "_encoded", lambda self, *_: InMemoryFrame(np.zeros(self.layout.frame_bytes, np.uint8))
    )
    finding = examine(Mutant(specimen, "nothing was done to it", specimen.data), tmp_path)
    assert any("frame 2" in problem for problem in finding.wrong_bytes)


def test_unexpected_exceptions_are_detected(
    specimens: list[Specimen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ArchivedMovie, *_: object) -> None:
        raise ZeroDivisionError("oops")

    specimen = next(one for one in specimens if one.name == "none")
    monkeypatch.setattr(ArchivedMovie, "_encoded", fail)
    finding = examine(Mutant(specimen, "nothing was done to it", specimen.data), tmp_path)
    assert any("ZeroDivisionError: oops" in problem for problem in finding.broken)


def test_a_crashed_reader_is_counted(
    specimens: list[Specimen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A specimen of an unknown kind makes the process end."""
    whole = specimens[0]
    of_no_kind = replace(whole, kind="none")  # type: ignore[arg-type]
    several = [
        Mutant(whole, "first", whole.data),
        Mutant(of_no_kind, "second", b""),
        Mutant(whole, "third", whole.data),
    ]
    monkeypatch.setattr(run, "make_specimens", lambda _: [])
    monkeypatch.setattr(run, "mutants", lambda *_: iter(several))
    damage = damage_run(3, 0, tmp_path)
    assert (damage.files, damage.crashes, damage.intact) == (3, 1, 2)
    assert not damage.good
    assert "second: crash, exit code 1" in damage.problems[0]


def test_damaged_strips_are_never_decoded(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(place / "movie.mrc", tmp_path / "lzw", CompressOptions(coding=Coding("lzw"), jobs=1))
    path = tmp_path / "lzw" / "movie.mrc.tif"
    content = bytearray(path.read_bytes())
    with open_movie(path) as movie:
        content[movie.record.frames[4].offsets[0] + 20] ^= 0xFF  # type: ignore[attr-defined]
    path.write_bytes(content)
    met: list[bytes] = []
    monkeypatch.setattr(lzw, "decode", lambda stream, _: met.append(stream))
    with open_movie(path) as movie, pytest.raises(DamagedError, match="frame 4"):
        movie.mrc_frame(4)
    assert not met
    with open_movie(path) as movie, pytest.raises(DamagedError, match="frame 3"):
        movie.mrc_frame(3)
    assert met, "intact strips are decoded by the replaced function"


@pytest.mark.parametrize("part", ["pixels", "page directory", "record"])
def test_verify_finds_damage_in_every_part(place: Path, tmp_path: Path, part: str) -> None:
    target = Path(shutil.copytree(place / "archive", tmp_path / "archive"))
    path = target / "movie.mrc.tif"
    content = bytearray(path.read_bytes())
    with open_movie(path) as movie:
        frame = movie.record.frames[4]  # type: ignore[attr-defined]
    # the directory of a page is stored immediately before its strips
    position = {"pixels": frame.offsets[0] + 99, "page directory": frame.offsets[0] - 30, "record": len(content) - 60}[
        part
    ]
    content[position] ^= 0xFF
    path.write_bytes(content)
    _, errors = verified(target)
    # the other files of the archive are intact
    assert [type(error) for error in errors] == [DamagedError]
