"""The warning about the gain reference of the EER movies of a mount."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from benchmarks.simulate_counts import make_gain
from benchmarks.simulate_eer import Events, Widths, encode, write_eer
from cryofs.config.settings import Settings
from cryofs.fuse.gain_warning import background_check, check
from tests.support import wait_for

SHAPE = (300, 280)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with an EER movie and its gain reference, upside down."""
    rng = np.random.default_rng(5)
    gain = np.maximum(make_gain(rng, SHAPE, 0.1), np.float32(0.5))
    folder = tmp_path / "archive" / "Movies"
    folder.mkdir(parents=True)
    frames = []
    for _ in range(12):
        pixels = np.flatnonzero(rng.random(SHAPE) < 0.3 / gain)
        zeros = np.zeros(len(pixels), np.int64)
        frames.append(encode(Events(pixels, zeros, zeros), gain.size, Widths()))
    write_eer(folder / "a.eer", frames, SHAPE, Widths())
    turned = np.ascontiguousarray(gain[::-1], np.float32)
    (tmp_path / "gain.mrc").write_bytes(header((1, *SHAPE), 2) + turned.tobytes())
    return tmp_path / "archive"


def test_a_turned_reference_is_logged(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    gain = archive.parent / "gain.mrc"
    check(archive, gain, None, "multiply")
    (message,) = caplog.messages
    assert message.startswith(
        f"{gain}: the orientation of the gain reference differs from that of {archive}/Movies/a.eer; "
        "pass --gain-orientation rot180-flip"
    )
    caplog.clear()
    check(archive, gain, "rot180-flip", "multiply")
    check(archive / "nothing", gain, None, None)
    assert not caplog.messages
    check(archive, gain, "rot180-flip", None)
    (message,) = caplog.messages
    assert message.endswith("contradict the convention; pass --eer-gain-convention multiply")


def test_it_does_not_delay_the_mount(archive: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    settings = Settings(eer_gain=str(archive.parent / "gain.mrc"))
    background_check(archive, archive, settings)()
    background_check(archive, tmp_path, Settings())()
    assert not caplog.messages
    background_check(archive, tmp_path, settings)()
    assert wait_for(lambda: caplog.messages) == caplog.messages
