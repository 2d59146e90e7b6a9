"""Run many readers of all kinds while files of the archive are replaced."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cryofs.compress.movie_task import CompressOptions
from tests.support import archive, cryofs, mounted, simulated
from tests.torture.figures import Figures
from tests.torture.reader import KINDS

_SECONDS = 60.0
_MOVIES = 5


def read_while_replaced(folder: Path, seconds: float, count: int, seed: int) -> Figures:
    """Replace movies and a file continuously, one movie in place, while readers compare the bytes that they read."""
    figures = Figures(f"{count} readers, {seconds / 60:.0f} minutes, files replaced", unit="requests")
    rng = np.random.default_rng(seed)
    names = [f"{number}.mrc" for number in range(_MOVIES)] + ["overwritten.mrc"]
    for version in ("one", "two"):
        for number, name in enumerate(names):
            simulated(folder / "originals" / version / name, frames=20, seed=100 * (version == "two") + number)
        (folder / "originals" / version / "notes.bin").write_bytes(rng.bytes(300_000))
        gain = folder / "archives" / "one" / "gain-reference.mrc"
        options = CompressOptions(gain=gain if gain.exists() else "auto", jobs=2)
        _, reported = archive(folder / "originals" / version, folder / "archives" / version, options)
        assert not reported.errors
    place = Path(shutil.copytree(folder / "archives" / "one", folder / "archive"))
    replaced = 0
    with mounted(place, folder / "mnt", "--cache-size", "16MiB") as mount:
        readers = []
        for number in range(count):
            arguments = [mount, folder / "originals", KINDS[number % len(KINDS)], seed + number, seconds, _SECONDS]
            command = [sys.executable, "-m", "tests.torture.reader", *map(str, arguments)]
            readers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        until = time.monotonic() + seconds
        stored = [*(f"{name}.tif" for name in names), "notes.bin"]
        while time.monotonic() < until:
            source = folder / "archives" / ("one", "two")[int(rng.integers(2))]
            name = stored[int(rng.integers(len(stored)))]
            if name.startswith("overwritten"):
                (place / name).write_bytes((source / name).read_bytes())
            else:
                shutil.copyfile(source / name, place / f".cryofs-draft-{name}")
                (place / f".cryofs-draft-{name}").replace(place / name)
            replaced += 1
            time.sleep(rng.uniform(0, 0.1))
        for reader in readers:
            try:
                output, complaint = reader.communicate(timeout=2 * _SECONDS)
            except subprocess.TimeoutExpired:
                figures.hung += 1
                reader.kill()
                reader.communicate()
                continue
            if reader.returncode:
                print(complaint, file=sys.stderr)
                figures.crashes += 1
                continue
            counts = json.loads(output)
            figures.done += counts["requests"]
            figures.wrong_bytes += counts["wrong"]
            figures.lost += counts["errors"]
            figures.hung += counts["hung"]
        figures.crashes += cryofs("stats", mount, check=False).returncode != 0
    assert replaced > 0
    return figures
