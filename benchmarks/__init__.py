"""Measured comparisons and their sample data; not part of the installed package."""
