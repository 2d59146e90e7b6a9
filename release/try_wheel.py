"""`make package`: test a wheel in a temporary environment of each installed Python.

`python -m release.try_wheel WHEEL` installs the wheel, runs the installed command (print the version, archive and
verify a tiny movie, extract it) and checks that the files for administrators are installed. It uses only the standard
library and removes all temporary files.
"""

import glob
import subprocess
import sys
import tempfile
from pathlib import Path

_VERSIONS = ("3.11", "3.12", "3.13")
_PLACES = ("/usr/bin", "/usr/local/bin", str(Path.home() / ".pyenv/versions/*/bin"), "/opt/python*/bin")
# a movie of 3 frames of 16 x 16 pixels, int8: fields of the header, and counts from 0 to 2
_TINY = """
import struct, sys
header = bytearray(1024)
struct.pack_into("<10i", header, 0, 16, 16, 3, 0, 0, 0, 0, 16, 16, 3)
struct.pack_into("<3i", header, 64, 1, 2, 3)
header[208:216] = b"MAP DD\\0\\0"
open(sys.argv[1], "wb").write(header + bytes(place % 3 for place in range(3 * 256)))
"""


def main() -> None:
    """Test a wheel with each interpreter; stop at the first failure."""
    wheel = Path(sys.argv[1]).absolute()
    tried = 0
    for version in _VERSIONS:
        found = [path for place in _PLACES for path in sorted(glob.glob(f"{place}/python{version}"))]
        if not found:
            print(f"Python {version}: not installed")
            continue
        _try(wheel, found[0])
        tried += 1
    if not tried:
        raise SystemExit(f"cannot test the wheel: no Python {', '.join(_VERSIONS)} installed")


def _try(wheel: Path, python: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cryofs-package-") as place:
        folder = Path(place)
        _run(python, "-m", "venv", folder / "env")
        _run(folder / "env/bin/pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[report,metrics]")
        cryofs = folder / "env/bin/cryofs"
        movie, archive = folder / "tiny.mrc", folder / "archive"
        _run(python, "-c", _TINY, movie)
        outputs = [
            _run(cryofs, "--version"),
            _run(cryofs, "compress", movie, "-o", archive),
            _run(cryofs, "verify", archive),
        ]
        _run(cryofs, "extract", archive, "-o", folder / "restored")
        _run(folder / "env/bin/mount.fuse.cryofs", "--help")
        if not (folder / "env/share/cryofs/systemd/cryofs@.service").is_file():
            raise SystemExit(f"{python}: systemd unit files missing in the wheel")
        if (folder / "restored/tiny.mrc").read_bytes() != movie.read_bytes():
            raise SystemExit(f"{python}: the extracted movie differs from the original")
        print(f"{python}: " + "; ".join(line.strip() for line in outputs), flush=True)


def _run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:3]))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
