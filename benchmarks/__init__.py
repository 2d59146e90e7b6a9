"""Comparisons with other programs, and their sample data; not part of the installed package."""
