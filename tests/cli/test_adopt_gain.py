"""The warning of `cryofs adopt` about the gain reference that records name."""

from pathlib import Path

import numpy as np
import tifffile

from benchmarks.simulate import header
from benchmarks.simulate_counts import make_gain
from tests.support import run_in_process

SHAPE = (300, 280)


def test_a_turned_reference_is_reported_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    gain = np.maximum(make_gain(rng, SHAPE, 0.1), np.float32(0.5))
    for name in ("a.tif", "b.tif"):
        with tifffile.TiffWriter(tmp_path / name) as writer:
            for _ in range(8):
                writer.write(rng.poisson(1 / gain).astype(np.uint8)[::-1], rowsperstrip=64)
    for values, warnings in ((gain, 0), (gain[:, ::-1], 1)):
        for name in ("a.tif", "b.tif"):
            copy = tmp_path / f"{warnings}" / name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes((tmp_path / name).read_bytes())
        reference = tmp_path / f"{warnings}" / "gain-reference.mrc"
        reference.write_bytes(header((1, *SHAPE), 2) + np.ascontiguousarray(values, np.float32).tobytes())
        run = run_in_process("adopt", tmp_path / f"{warnings}")
        assert run.stderr.count("orientation of the gain reference differs from") == warnings
        assert "2 movies adopted" in run.stdout
