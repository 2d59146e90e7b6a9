"""Names keep their inode numbers, sizes and times while movies are archived and become plain files again."""

import os
import threading
from pathlib import Path

from tests.mounted.storing import movie, wait_for
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import mounted

pytestmark = NEEDS_MOUNTS
MOVIES = 5


def about(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_nlink


def test_all_that_stat_returns_of_a_movie_stays_while_it_is_archived_and_thawed(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    options = "writable,settle=0,ingest_jobs=1,attr_timeout=0,entry_timeout=0"
    with mounted(archive, tmp_path / "mnt", "-o", options) as mount:
        names = [mount / f"{number}.mrc" for number in range(MOVIES)]
        for number, name in enumerate(names):
            name.write_bytes(movie(number, (2, 128, 150)))
        readers = [os.open(name, os.O_RDONLY) for name in names]
        before = {name: about(name.stat()) for name in names}
        seen: dict[Path, set[tuple[int, ...]]] = {name: set() for name in names}
        entries: dict[str, set[int]] = {}
        is_ended = threading.Event()

        def look() -> None:
            while not is_ended.is_set():
                for name, reader in zip(names, readers, strict=True):
                    seen[name] |= {about(name.stat()), about(os.fstat(reader))}
                with os.scandir(mount) as found:
                    for entry in found:
                        entries.setdefault(entry.name, set()).add(entry.inode())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for _ in range(2):
                wait_for(lambda: len(list(archive.glob("*.tif"))) == MOVIES and not list(archive.glob("*.mrc")))
                for name in names:
                    # as a plain file, without a write
                    os.close(os.open(name, os.O_RDWR))
            # new files may have the inodes of those that were removed
            (mount / "new").write_bytes(b"")
            other = (mount / "new").stat().st_ino
        finally:
            is_ended.set()
            thread.join()
            for reader in readers:
                os.close(reader)
        assert {name: {values} for name, values in before.items()} == seen
        numbers = {name.name: {values[1]} for name, values in before.items()}
        assert numbers | {"new": {other}} == entries | {"new": {other}}
        assert len({other, *(values[1] for values in before.values())}) == MOVIES + 1
