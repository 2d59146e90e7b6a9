"""A mount that stores gain-normalised movies, which wait for a gain reference, also across a kill of the mount."""

import signal
from pathlib import Path

import pytest

from benchmarks.simulate import Detector, header
from cryofs.archive.info import describe
from cryofs.fuse.control import settle_now
from cryofs.storage.file_state import state_of
from tests.mounted.storing import wait_for
from tests.mounted.support import NEEDS_MOUNTS, is_gone, wait_for_unlocked
from tests.mounted.test_storing import server_of
from tests.mounted.test_storing_figures import ingest_of
from tests.outcomes import verified
from tests.support import cryofs, mounted, names, simulated

pytestmark = NEEDS_MOUNTS
DETECTORS = [Detector.make((64, 60), defects=4, seed=seed) for seed in range(2)]
OPTIONS = "writable,settle=0,ingest_jobs=1"


def movie(folder: Path, seed: int, gain: int, frames: int = 12) -> bytes:
    return simulated(folder / f"{seed}.mrc", frames, seed=seed, detector=DETECTORS[gain]).read_bytes()


def written(folder: Path, name: str, data: bytes) -> None:
    """Write a movie, and wait until it is archived or waits for its gain."""

    def handled() -> int:
        facts = ingest_of(folder)
        return int(facts["ingested"]) + int(facts["waiting"]["gain"]["files"])

    # the kernel tells a mount of a close only after the program has gone on
    before = handled()

    def is_handled() -> bool:
        facts = ingest_of(folder)
        is_settled = facts["waiting_files"] == facts["waiting"]["gain"]["files"] and not facts["waiting"]["gain"]["due"]
        return is_settled and handled() > before

    (folder / name).write_bytes(data)
    wait_for(is_handled)
    assert (folder / name).read_bytes() == data


def test_a_session_with_a_new_gain_and_a_kill(tmp_path: Path) -> None:
    (archive := tmp_path / "archive").mkdir()
    data = {f"{n}.mrc": movie(tmp_path, n, gain=int(n > 4)) for n in range(8)}
    first, second = [f"{n}.mrc" for n in range(5)], [f"{n}.mrc" for n in range(5, 8)]
    log = tmp_path / "mnt.log"
    with mounted(archive, tmp_path / "mnt", "-o", OPTIONS) as mount:
        for name in first[:2]:
            written(mount, name, data[name])
        assert ingest_of(mount)["waiting"]["gain"]["files"] == 2
        for name in first[2:]:
            written(mount, name, data[name])
        wait_for(lambda: not ingest_of(mount)["waiting_files"])
        assert sorted(path.name for path in archive.glob("*mrc*")) == [
            *(f"{name}.tif" for name in first),
            "gain-reference.mrc",
        ]
        assert log.read_text().count("waits (no gain reference of the archive fits)") == 3
        assert log.read_text().count("gain estimated from 3 movies") == 1
        written(mount, second[0], data[second[0]])
        wait_for(lambda: list((archive / ".cryofs-gain").glob("*.npz")))
        (state,) = (archive / ".cryofs-gain").glob("*.npz")
        before = state_of(state.stat())
        server = server_of(mount)
        children = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        wait_for(lambda: all(is_gone(process.pid) for process in [server, *children]))
        with mounted(archive, tmp_path / "again", "-o", OPTIONS) as again:
            wait_for(lambda: ingest_of(again)["waiting"]["gain"]["files"] == 1)
            # it was not read again
            assert state_of(state.stat()) == before
            written(again, second[1], data[second[1]])
            written(again, second[2], data[second[2]])
            wait_for(lambda: ingest_of(again)["ingested"] == 3)
            assert {name: (again / name).read_bytes() for name in [*first, *second]} == {
                name: data[name] for name in [*first, *second]
            }
            assert "gain estimated from 3 movies" in (tmp_path / "again.log").read_text()
    wait_for_unlocked(archive)
    assert not verified(archive)[1]
    assert len([name for name in names(archive) if name.startswith("gain-reference")]) == 2
    assert not (archive / ".cryofs-gain").exists()


def test_what_waits_is_archived_on_request(tmp_path: Path) -> None:
    (archive := tmp_path / "archive").mkdir()
    with mounted(archive, tmp_path / "mnt", "-o", OPTIONS) as mount:
        data = movie(tmp_path, 0, 0, 6)
        written(mount, "a.mrc", data)
        written(mount, "short.mrc", short := movie(tmp_path, 1, 1, 2))
        assert ingest_of(mount)["waiting"]["gain"]["files"] == 2
        settle_now(mount)
        wait_for(lambda: ingest_of(mount)["waiting_files"] == 0)
        assert ((mount / "a.mrc").read_bytes(), (mount / "short.mrc").read_bytes()) == (data, short)
        log = (tmp_path / "mnt.log").read_text()
    assert "gain estimated from 1 movie, 6 frames (requested)" in log
    assert (archive / "a.mrc.tif").exists()
    assert not verified(archive)[1]


@pytest.mark.parametrize("given", ["none", "option", "setting", "written"])
def test_a_given_gain(tmp_path: Path, given: str) -> None:
    (archive := tmp_path / "archive").mkdir()
    reference = tmp_path / "reference.mrc"
    reference.write_bytes(header((1, 64, 60), 2) + DETECTORS[0].gain.tobytes())
    options = OPTIONS
    if given == "setting":
        (archive / "cryofs.toml").write_text(f'gain = "{reference}"')
    elif given in ("none", "option"):
        options += f",gain={reference if given == 'option' else 'none'}"
    with mounted(archive, tmp_path / "mnt", "-o", options) as mount:
        data = movie(tmp_path, 0, 0, 6)
        written(mount, "a.mrc", data)
        if given == "written":
            assert ingest_of(mount)["waiting"]["gain"]["files"] == 1
            # by another program; noticed with the next file
            (archive / "gain-reference.mrc").write_bytes(reference.read_bytes())
            (mount / "text.mrc").write_bytes(b"not a movie")
        wait_for(lambda: ingest_of(mount)["ingested"] == 1)
        assert (mount / "a.mrc").read_bytes() == data
    gain = describe(archive / "a.mrc.tif")["gain"]
    assert (gain is None) == (given == "none")
    assert not verified(archive)[1]


def test_an_invalid_gain_is_refused_by_a_writable_mount(tmp_path: Path) -> None:
    (archive := tmp_path / "archive").mkdir()
    (tmp_path / "mnt").mkdir()
    (tmp_path / "bad.mrc").write_bytes(bytes(2000))
    (tmp_path / "zeros.mrc").write_bytes(header((1, 60, 50), 2) + bytes(60 * 50 * 4))
    for name, problem in (
        ("zeros.mrc", "the gain reference has no positive value"),
        ("bad.mrc", "not a valid gain reference"),
    ):
        gain = f"gain={tmp_path / name}"
        done = cryofs("mount", archive, tmp_path / "mnt", "-o", f"writable,{gain}", check=False)
        assert done.returncode == 1
        assert f"{tmp_path / name}: {problem}" in done.stderr
    with mounted(archive, tmp_path / "mnt", "-o", gain):
        pass
