"""Compare the pixels of TIFF files of cryofs and RELION."""

from pathlib import Path

import numpy as np
import tifffile


def compare(ours: Path, theirs: Path) -> str:
    """Compare the first, middle and last frames of two TIFF files; return the result as a sentence.

    cryofs may store 16-bit counts in 8 bits. The TIFF file then contains 255 for the few larger counts, which cryofs
    restores exactly. In gain-normalised movies, RELION keeps the values of pixels whose gain is not reliable.
    """
    with tifffile.TiffFile(ours) as our_file, tifffile.TiffFile(theirs) as their_file:
        count = len(their_file.pages)
        if len(our_file.pages) != count:
            return f"RELION wrote {count} frames, cryofs {len(our_file.pages)}."
        frames = sorted({0, count // 2, count - 1})
        different = clipped = 0
        for frame in frames:
            our_values = our_file.pages[frame].asarray()
            their_values = their_file.pages[frame].asarray()
            if our_values.dtype == np.uint8 and their_values.dtype == np.int16:
                clipped += int(np.count_nonzero(their_values > 255))
                their_values = np.minimum(their_values, 255)
            different += int(np.count_nonzero(our_values != their_values))
    where = f"frames {', '.join(map(str, frames))} of cryofs and RELION"
    beside = f" ({clipped} values above 255 are 255 in the TIFF file of cryofs)" if clipped else ""
    if different and their_values.dtype == np.float32:
        beside = ", where RELION keeps values that are not multiples of a reliable gain"
    if different:
        return f"{different} pixels of {where} differ{beside}."
    return f"all pixels of {where} are the same{beside}."
