"""Codecs, which encode and decode TIFF strips."""
