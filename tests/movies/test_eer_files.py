"""Finding the EER files of a folder."""

from pathlib import Path

import pytest

from benchmarks.simulate_eer import write_eer
from cryofs.movies import eer_files
from cryofs.movies.eer_files import first_eer
from tests.movies.eer_samples import FALCON, FRAMES, SHAPE


def test_the_first_readable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_eer(tmp_path) is None
    (tmp_path / "a.eer").write_bytes(b"damaged")
    (tmp_path / "b.eer").mkdir()
    (tmp_path / "c.eer").symlink_to("nowhere")
    (tmp_path / "x.mrc").write_bytes(b"another kind")
    assert first_eer(tmp_path) is None
    for place in (tmp_path / "below" / "b.mrc.eer", tmp_path / "above" / "c.ECC"):
        place.parent.mkdir()
        write_eer(place, FRAMES, SHAPE, FALCON)
    found = first_eer(tmp_path)
    assert found is not None
    assert (found[0], found[1].frames) == (tmp_path / "above" / "c.ECC", len(FRAMES))
    every = list(eer_files.eer_files(tmp_path))
    assert every == [tmp_path / name for name in ("a.eer", "above/c.ECC", "below/b.mrc.eer")]
    monkeypatch.setattr(eer_files, "_MOST_NAMES", 3)
    assert first_eer(tmp_path) is None
