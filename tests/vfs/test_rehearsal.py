"""After its start a mount reads a part of a movie by itself, of which nothing is left to see."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulate import Detector, write_movie
from cryofs.config.settings import Settings
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests import faults
from tests.support import archive, wait_for
from tests.vfs.serving import started

# frames of five row blocks
SHAPE = (1100, 256)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = tmp_path_factory.mktemp("rehearsal") / "session"
    (session / "day").mkdir(parents=True)
    write_movie(session / "day" / "movie.mrc", Detector.make(SHAPE, 50), 4)
    archive(session, session.with_name("archive"))
    return session.with_name("archive")


def prepared(place: Path, monkeypatch: pytest.MonkeyPatch, note: Any) -> FileSystem:
    """The file system after its start, with notes of all reads of storage but those of the indexer."""
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    faults.inject(monkeypatch, note)
    with started(FileSystem(place, Settings(jobs=2))) as made:
        wait_for(lambda: not made._preparing.is_alive())
        return made


def test_a_row_block_is_read_and_nothing_else_is_left(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strip_at = 1000
    reads: list[tuple[int, int]] = []

    def note(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        _, size, offset, *_ = arguments
        reads.append((offset, size if isinstance(size, int) else 0))
        return call(*arguments)

    made = prepared(place, monkeypatch, note)
    with LocalFile.open(next(place.rglob("*.mrc.tif"))) as source:
        end = source.size
    assert any(offset < end // 2 and size > strip_at for offset, size in reads), "a strip of the first frame"
    facts = made.facts()
    assert (facts["decodes"], facts["cached_bytes"], facts["open_files"], facts["reads"]) == (0, 0, 0, 0)


def test_an_unreadable_movie_is_left_to_its_readers(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(call: Any, number: int, arguments: tuple[Any, ...]) -> Any:
        raise OSError(5, "Input/output error")

    made = prepared(place, monkeypatch, fail)
    assert made.facts()["damaged_files"] == 0
    assert not caplog.records
