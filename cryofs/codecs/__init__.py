"""Encoders and decoders of TIFF strips."""
