"""Encode and decode TIFF strips."""
