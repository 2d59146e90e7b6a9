"""Options with a fixed set of values, for the command line, cryofs.toml and the library."""

from typing import Literal

# A file that was written is durable when close(2) returns, or later.
CloseMode = Literal["durable", "fast"]

# Values of `gain` that are not files: gain references of the archive, or estimated ones; or none.
GAIN_WORDS = ("auto", "none")

CompressionChoice = Literal["auto", "lzw", "deflate", "none"]

# Pixel type of the TIFF: narrow with rare larger values as exceptions, wide enough for all values, or as wide as in
# the original.
NarrowChoice = Literal["auto", "exact", "never"]

# Links that would point outside the archive: store and report them, archive their targets, or store them silently.
LinkChoice = Literal["report", "follow", "keep"]

# EER files: copy them, or store their fractions as TIFF.
EerChoice = Literal["keep", "tiff"]
EerDtype = Literal["int8", "int16", "uint16", "float32"]
# Rendered pixels per detector pixel and axis.
EerUpsampling = Literal[1, 2, 4]
# Pixels per detector pixel and axis after cropping in Fourier space.
EerCrop = Literal[1, 2]
# Use of the last frames of an EER movie, which do not fill a fraction.
EerLeftover = Literal["drop", "keep", "spread"]
# Use of the values of a gain reference: multiply counts by them, or divide counts by them.
EerGainConvention = Literal["multiply", "divide"]

# Orientations of a gain reference: numpy.rot90 by this angle; with -flip, then reversed columns.
GainOrientation = Literal["rot0", "rot90", "rot180", "rot270", "rot0-flip", "rot90-flip", "rot180-flip", "rot270-flip"]

# Pixel types that hold the values of cropped fractions, which are not whole numbers.
CROPPED_DTYPES = ("float32", "int16")


def crop_problem(upsampling: int, crop: int | None, dtype: str | None) -> str | None:
    """Return the reason why the settings for cropping EER movies are invalid, or None if they are valid."""
    if crop is None:
        return None
    if crop >= upsampling:
        expected = "expected 2 to 1, 4 to 2 or 4 to 1"
        return f"eer_crop must be less than eer_upsampling ({expected}, got {upsampling} to {crop}); change eer_crop"
    if dtype not in (None, *CROPPED_DTYPES):
        return f"eer_crop yields {' or '.join(CROPPED_DTYPES)} (got eer_dtype {dtype}); change eer_dtype"
    return None
