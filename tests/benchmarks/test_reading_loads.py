"""Reading in all ways returns the same bytes, and every load has measured values."""

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace

import pytest

import cryofs
from benchmarks import compare_names, readings
from benchmarks.compare_names import ITSELF, Many, ask_under_load, list_folder, list_names
from benchmarks.compare_reading import prepared
from benchmarks.competitors import OURS
from benchmarks.reading_loads import LOADS, MOVIES, Load
from benchmarks.reading_memory import memory_under_load
from benchmarks.reading_peers import IN_PROCESS, RAW, Opened, Session, cat, ways
from benchmarks.readings import in_turn
from benchmarks.simulate import Detector, write_movie
from tests.privileges import CAN_USE_FUSE

needs_fuse = pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
SHAPE = (512, 480)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Return four archived movies."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "movies").mkdir()
    names = [f"movies/{number}.mrc" for number in range(MOVIES)]
    for seed, name in enumerate(names):
        write_movie(folder / name, Detector.make(SHAPE, 20), 4, seed=seed)
    made = Session(folder, names)
    made.compress()
    return made


@needs_fuse
@pytest.mark.mounted
def test_all_ways_return_the_same_bytes(session: Session) -> None:
    originals = [path.read_bytes() for path in session.originals]
    able = [way for way in ways(session, (), (), ()) if way.why_not is None and way.loads is None]
    assert {OURS, RAW} <= {way.name for way in able}
    for way in able:
        way.prepare()
        with way.opened() as opened:
            assert [path.read_bytes() for path in opened.paths] == originals, way.name
            assert opened.movie_bytes == len(originals[0])


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_loads_have_values(session: Session, load: Load) -> None:
    opened = Opened(session.originals, session.originals, session.movie_bytes, None, cat)
    figures = load.measure(opened)
    assert figures
    assert all(figure.value > 0 for figure in figures)


def test_movies_are_decoded_without_a_mount(session: Session) -> None:
    (way,) = (way for way in ways(session, (), (), ()) if way.name == IN_PROCESS)
    with way.opened() as opened:
        assert opened.paths == session.archived
        assert opened.read_all(opened.paths[:2]) > 0


def test_a_reader_that_fails_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing"):
        cat([tmp_path / "nothing"])


def test_a_failing_peer_is_skipped_with_a_note(session: Session) -> None:
    raw = next(way for way in ways(session, (), (), ()) if way.name == RAW)
    failing = dataclasses.replace(raw, name="odd", prepare=functools.partial(cat, [session.folder / "nothing"]))
    missing = dataclasses.replace(raw, name="none", why_not="not installed")
    indexing = dataclasses.replace(raw, name="index", prepare=lambda: 2.0)
    notes: list[str] = []
    first_mounts: dict[str, float] = {}
    assert prepared([raw, failing, missing, indexing], first_mounts, notes) == [raw, indexing]
    assert [note.split(":")[0] for note in notes] == ["Reading, odd", "Reading, none"]
    assert first_mounts == {"index": 2.0}
    with pytest.raises(SystemExit):
        prepared([dataclasses.replace(failing, name=OURS)], first_mounts, notes)


def test_slow_ways_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    order = []

    def turn(name: str, seconds: int) -> None:
        nonlocal now
        now += seconds
        order.append(name)

    monkeypatch.setattr(readings, "time", SimpleNamespace(monotonic=lambda: now))
    in_turn(3, {name: functools.partial(turn, name, seconds) for name, seconds in (("quick", 1), ("slow", 60))})
    assert order == ["quick", "slow", "quick", "quick"]


@needs_fuse
@pytest.mark.mounted
@pytest.mark.slow
def test_names_are_listed_and_queried(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # dropping all caches would slow down other tests
    monkeypatch.setattr(compare_names, "forget", lambda paths: None)
    many = Many(tmp_path / "names", 5, 4)
    many.make()
    many.add_large(session.archive)
    assert len(list(many.archive.glob("flat/*.mrc.tif"))) == 5
    assert [path.name for path in many.archive.glob("tree/*")] == ["000"]
    with cryofs.open(many.archive / "tree" / "000" / "movie-000003.mrc.tif") as movie:
        assert movie.shape == (2, 32, 32)
    found = list_names(many, 1, []) + ask_under_load(many, session, 1)
    ours = {reading.what for reading in found if reading.way == OURS}
    theirs = {reading.what for reading in found if reading.way == ITSELF}
    assert {"du of 5 movies, no index", "find -size of 5 movies, index"} <= theirs
    assert {"ls -l of 5 movies, no index", "find over 4 movies, index", "find over 4 movies, once more"} <= theirs
    assert {what for what in ours if "mounting" not in what and "complete" not in what} == theirs
    assert min(reading.median for reading in found) >= 0
    of_folder = [reading.what for reading in list_folder(many, 1)]
    assert of_folder == [
        f"ls {option} of 5 movies in one folder, {state}"
        for state in ("first mount", "index")
        for option in ("-U", "-l")
    ]


@needs_fuse
@pytest.mark.mounted
@pytest.mark.slow
def test_memory_is_that_of_the_mount(session: Session) -> None:
    found = {reading.what: reading.median for reading in memory_under_load(session, 0.03)}
    most, cache = found["most memory in 1.8 seconds"], found["cache size (`--cache-size`)"]
    assert cache == session.movie_bytes / 1e9
    assert found["most memory / cache size"] == pytest.approx(most / cache)
    assert 0 < found["of it reached in the first half"] <= 100
