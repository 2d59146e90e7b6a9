"""Programs on a mount that archives at once, with files named .mrc and others: they leave what they leave elsewhere."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from benchmarks.simulate import header
from tests.mounted.storing import Storing, movie, storing
from tests.mounted.support import NEEDS_MOUNTS

pytestmark = NEEDS_MOUNTS

# Paragraphs of shell, which are run in turn; before the next one, all finished movies are archived.
SCRIPTS = Path(__file__).with_name("programs")
OF_GIT = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
          (("NAME", "a"), ("EMAIL", "a@example.org"), ("DATE", "2020-01-01T00:00:00Z"))}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storing]:
    """A mount that archives at once, and a plain folder."""
    with storing(tmp_path_factory.mktemp("programs")) as made:
        yield made


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two folders of movies and other files, the second a changed copy of the first."""
    folders = {name: tmp_path_factory.mktemp("sources") / name for name in ("S", "CHANGED")}
    for name, folder in folders.items():
        (folder / "sub").mkdir(parents=True)
        is_changed = name == "CHANGED"
        data = {one: movie(seed) for seed, one in enumerate(("a.mrc", "b.mrc", "c.mrc", "sub/d.mrc"))}
        data |= {"holes.mrc": header((1, 300, 400), 1) + bytes(240_000), "notes.txt": b"300 kV\n" * 5000, "empty": b""}
        if is_changed:
            data["a.mrc"] = data["a.mrc"][:5000] + data["b.mrc"][5000:6000] + data["a.mrc"][6000:]
            data["notes.txt"] += b"200 kV\n"
            data["b.mrc"] = movie(1, (3, 128, 150))
            del data["c.mrc"]
        for number, (file, content) in enumerate(data.items()):
            (folder / file).write_bytes(content)
            os.setxattr(folder / file, "user.note", file.encode())
            (folder / file).chmod(0o640 if number % 2 else 0o755)
            os.utime(folder / file, ns=(number, 10**14 + 10 * number + is_changed))
        (folder / "link.mrc").symlink_to("a.mrc")
        for path in (folder / "sub", folder):
            os.utime(path, ns=(5, 10**14 + 5))
    return {name: str(folder) for name, folder in folders.items()}


@pytest.mark.parametrize("program", sorted(path.stem for path in SCRIPTS.iterdir()))
def test_a_program_leaves_what_it_leaves_on_a_plain_folder(
    stored: Storing, sources: dict[str, str], program: str, tmp_path: Path
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    place = stored.below(program)
    for number, script in enumerate((SCRIPTS / f"{program}.sh").read_text().split("\n\n")):
        place.run(script, **sources, **OF_GIT, OUTSIDE=str(tmp_path / str(number)), PYTHON=sys.executable)
        place.wait()


@pytest.mark.parametrize("name", ["jobs.db", "jobs.mrc"])
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_sqlite(stored: Storing, name: str, mode: str) -> None:
    place = stored.below(f"{mode} {name}")

    def use(folder: Path) -> object:
        first, second = (sqlite3.connect(folder / name, isolation_level=None, timeout=60) for _ in range(2))
        assert first.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
        first.execute("create table movies (name text primary key, data blob)")
        for number in range(10):
            one, other = (first, second) if number % 2 else (second, first)
            one.execute("begin immediate")
            one.executemany("insert into movies values (?, ?)", [(f"{number} {k}", bytes(500)) for k in range(50)])
            one.execute("rollback" if number % 3 == 2 else "commit")
            other.execute("delete from movies where name like '% 7'")
        second.execute("vacuum")
        found = second.execute("select count(*), sum(length(data)) from movies").fetchone()
        checked = [one.execute("pragma integrity_check").fetchall() for one in (first, second)]
        for one in (first, second):
            one.close()
        return found, checked

    place.both(use)
    place.check()


def test_mrcfile_in_its_modes(stored: Storing) -> None:
    place, values = stored.below("mrcfile"), np.random.default_rng(3).poisson(1, (2, 150, 128)).astype(np.int16)

    def make(folder: Path) -> None:
        for name in ("new.mrc", "other"):
            with mrcfile.new(folder / name) as made:
                made.set_data(values)
                made.voxel_size = 1.5
                made.header.label[0] = "made"
                made.header.nlabl = 1
        with mrcfile.new_mmap(folder / "mapped.mrc", values.shape, mrc_mode=1) as made:
            made.data[:] = values
            made.header.label[0] = "mapped"
            made.header.nlabl = 1

    def change(folder: Path) -> object:
        found = []
        for name in ("new.mrc", "mapped.mrc", "other"):
            with mrcfile.mmap(folder / name, "r+") as opened:
                opened.data[1, 5:50] += 1
            with mrcfile.open(folder / name, "r+") as opened:
                opened.data[0, 0, 0] = 7
                opened.set_extended_header(np.frombuffer(b"extended" * 100, "V1"))
            with mrcfile.mmap(folder / name) as opened:
                found.append((opened.data.sum(), opened.extended_header.tobytes()))
            mrcfile.validate(folder / name)
        return found

    for call in (make, change, change):
        place.both(call)
        place.check()
        place.wait()
