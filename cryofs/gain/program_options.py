"""Translation of an orientation to the options of programs that turn a gain reference."""

from cryofs.kernels.orientation import Orientation


def options_of(orientation: Orientation) -> dict[str, str]:
    """Return the options that turn a reference to this orientation, by program name."""
    number, flip = _RELION[orientation]
    return {
        "RELION": f"--gain_rot {number} --gain_flip {flip}",
        "MotionCor": f"-RotGain {number} -FlipGain {flip}",
        "cryoSPARC": _CRYOSPARC[orientation],
        "cryofs": f"--gain-orientation {orientation.name}",
    }


# RELION turns in the opposite direction of numpy.rot90, then flips: 1 reverses the rows, 2 the columns.
_RELION = {
    Orientation(0): (0, 0),
    Orientation(1): (3, 0),
    Orientation(2): (2, 0),
    Orientation(3): (1, 0),
    Orientation(0, flip=True): (0, 2),
    Orientation(1, flip=True): (1, 1),
    Orientation(2, flip=True): (0, 1),
    Orientation(3, flip=True): (1, 2),
}
# cryoSPARC may flip or turn first, which matters for two of the orientations.
_CRYOSPARC = {
    Orientation(0): "no flip, no rotation",
    Orientation(1): "rotate 1",
    Orientation(2): "flip in X and Y",
    Orientation(3): "rotate 3",
    Orientation(0, flip=True): "flip in X",
    Orientation(1, flip=True): "rotate 1, flip in Y (if this is wrong, in X)",
    Orientation(2, flip=True): "flip in Y",
    Orientation(3, flip=True): "rotate 1, flip in X (if this is wrong, in Y)",
}
