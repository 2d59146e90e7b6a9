"""Options with a fixed set of values, defined once for the command line, cryofs.toml and the library."""

from typing import Literal

CompressionChoice = Literal["auto", "lzw", "deflate", "none"]

# Pixel type of the TIFF: narrow with rare larger values as exceptions, wide enough for all values, or as wide as in
# the original.
NarrowChoice = Literal["auto", "exact", "never"]

# Links that would lead out of the archive: store and report them, archive their targets, or store and accept them.
LinkChoice = Literal["report", "follow", "keep"]

# EER files: copy them, or store their fractions as TIFF.
EerChoice = Literal["keep", "tiff"]
EerDtype = Literal["int8", "int16", "uint16", "float32"]
# Rendered pixels per detector pixel and axis.
EerUpsampling = Literal[1, 2, 4]
# The last frames of an EER movie, which do not fill a fraction.
EerLeftover = Literal["drop", "keep", "spread"]
# What the values of a gain reference do: counts are multiplied with them, or divided by them.
EerGainConvention = Literal["multiply", "divide"]
