"""An EER movie of particles that drift, and what RELION's Polish needs besides the movie."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate_eer import Events, Widths, encode, metadata, write_eer

SIZE = 512
FRAMES = 120
BOX = 64
PIXEL_SIZE = 1.0
_MEAN = 0.03
_WIDTHS = Widths()
# a rigid particle without symmetry, in pixels of the detector
_BLOBS = np.array([[0, 0, 0], [9, 0, 0], [0, 13, 0], [0, 0, 17]])
_BLOB_SIGMA = 2.5
_COLUMNS = (
    *("CoordinateX", "CoordinateY", "ImageName", "MicrographName", "OpticsGroup", "AngleRot", "AngleTilt", "AnglePsi"),
    *("OriginXAngst", "OriginYAngst", "DefocusU", "DefocusV", "DefocusAngle", "RandomSubset", "GroupNumber"),
)
_OPTICS = """# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnImagePixelSize #7
_rlnImageSize #8
_rlnImageDimensionality #9
opticsGroup1 1 1.0 300 2.7 1.0 1.0 64 2

# version 30001

data_particles

loop_
"""


@dataclass(frozen=True)
class Particles:
    """Centres in pixels of the detector, shape (n, 2), and RELION's angles in degrees, shape (n, 3)."""

    centres: NDArray[np.float64]
    angles: NDArray[np.float64]


def drift(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the position of the sample at times in frames, in pixels of the detector, shape (n, 2)."""
    time = frames / FRAMES
    return np.stack((12 * (1 - np.exp(-4 * time)), 7 * (1 - np.exp(-3 * time))), axis=1)


def write_drifting(path: Path) -> Particles:
    """Write the movie, and return its particles."""
    rng = np.random.default_rng(5)
    angles = np.column_stack((rng.uniform(0, 360, 40), np.degrees(np.arccos(rng.uniform(-1, 1, 40)))))
    particles = Particles(
        rng.uniform(BOX / 2 + 2, SIZE - BOX / 2 - 14, (40, 2)), np.column_stack((angles, rng.uniform(0, 360, 40)))
    )
    xml = metadata(FRAMES, _MEAN * FRAMES, PIXEL_SIZE)
    write_eer(path, _frames(_density(particles), rng), (SIZE, SIZE), _WIDTHS, xml=xml)
    return particles


def write_particles(folder: Path, particles: Particles, micrograph: str) -> None:
    """Cut particles from a micrograph into a stack, and write particles.star and a mask."""
    with mrcfile.open(folder / micrograph) as file:
        values = np.array(file.data)
    boxes, rows = [], []
    for centre, angles in zip(particles.centres, particles.angles, strict=True):
        x, y = np.rint(centre).astype(int)
        box = values[y - BOX // 2 : y + BOX // 2, x - BOX // 2 : x + BOX // 2]
        boxes.append((box - box.mean()) / box.std())
        number = len(boxes)
        turned = " ".join(f"{angle:.3f}" for angle in angles)
        rows.append(f"{x} {y} {number:06d}@particles.mrcs {micrograph} 1 {turned} 0 0 5000 5000 0 {number % 2 + 1} 1")
    _write_mrc(folder / "particles.mrcs", np.array(boxes, np.float32))
    names = "".join(f"_rln{name} #{number}\n" for number, name in enumerate(_COLUMNS, 1))
    (folder / "particles.star").write_text(_OPTICS + names + "\n".join(rows) + "\n")
    axes = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    radius = np.sqrt((axes**2).sum(axis=0))
    _write_mrc(folder / "mask.mrc", np.clip((28 - radius) / 4, 0, 1).astype(np.float32))


def _write_mrc(path: Path, values: NDArray[np.float32]) -> None:
    with mrcfile.new(path) as file:
        file.set_data(values)
        file.voxel_size = PIXEL_SIZE


def _density(particles: Particles) -> NDArray[np.float64]:
    """Return the projection of all particles on the 8K grid."""
    size = 2 * SIZE
    image = np.zeros((size, size))
    rows, columns = np.mgrid[:size, :size]
    for centre, angles in zip(particles.centres, particles.angles, strict=True):
        for x, y in 2 * (centre + (_BLOBS @ _rotation(*np.radians(angles)).T)[:, :2]):
            near = np.s_[max(int(y) - 20, 0) : int(y) + 20, max(int(x) - 20, 0) : int(x) + 20]
            distance = (columns[near] - x) ** 2 + (rows[near] - y) ** 2
            image[near] += np.exp(-distance / (2 * (2 * _BLOB_SIGMA) ** 2))
    return image


def _rotation(rot: float, tilt: float, psi: float) -> NDArray[np.float64]:
    """Return RELION's rotation (ZYZ) of a reference into a projection."""

    def about_z(angle: float) -> NDArray[np.float64]:
        cosine, sine = np.cos(angle), np.sin(angle)
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])

    cosine, sine = np.cos(tilt), np.sin(tilt)
    about_y = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    rotation: NDArray[np.float64] = about_z(psi) @ about_y @ about_z(rot)
    return rotation


def _frames(density: NDArray[np.float64], rng: np.random.Generator) -> Iterator[bytes]:
    transform = np.fft.rfft2(density)
    rows = np.fft.fftfreq(2 * SIZE)[:, None]
    columns = np.fft.rfftfreq(2 * SIZE)[None]
    for dx, dy in 2 * drift(np.arange(FRAMES) + 0.5):
        moved = np.fft.irfft2(transform * np.exp(-2j * np.pi * (columns * dx + rows * dy)))
        chance = _MEAN / 4 * np.clip(1 + 2 * moved, 0, None)
        y, x = np.nonzero(rng.random(chance.shape) < chance)
        # a pixel of the detector has one event a frame
        pixels, first = np.unique((y // 2) * SIZE + x // 2, return_index=True)
        # the high bit of a stored sub-pixel position is inverted
        high_x, high_y = (2 * (axis[first] % 2 ^ 1) for axis in (x, y))
        low = rng.integers(0, 2, (2, len(pixels)))
        yield encode(Events(pixels, high_x + low[0], high_y + low[1]), SIZE**2, _WIDTHS)
