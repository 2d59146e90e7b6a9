"""The eight orientations of an image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """A turn of an image in MRC order (row 0 first): `rot90` times `numpy.rot90`, then the columns reversed if `flip`.

    Attributes
    ----------
    rot90 : int
        Number of quarter turns, from 0 to 3.
    flip : bool
        Whether to reverse the order of the columns after the turns.
    """

    rot90: int = 0
    flip: bool = False

    @property
    def name(self) -> str:
        """Name of the orientation on the command line."""
        return f"rot{90 * self.rot90}" + ("-flip" if self.flip else "")

    def turned(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an image, shape (ny, nx), in this orientation."""
        turned = np.rot90(image, self.rot90)
        return turned[:, ::-1] if self.flip else turned

    def turned_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the number of rows and columns of a turned image."""
        return shape if self.rot90 % 2 == 0 else (shape[1], shape[0])


UPRIGHT = Orientation()
ORIENTATIONS = tuple(Orientation(rot90, flip) for flip in (False, True) for rot90 in range(4))


def orientation_of(name: str | None) -> Orientation:
    """Return the orientation with this name on the command line; None stands for the upright orientation."""
    return UPRIGHT if name is None else next(orientation for orientation in ORIENTATIONS if orientation.name == name)
