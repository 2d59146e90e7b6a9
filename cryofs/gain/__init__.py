"""Gain references: estimate, match, keep."""
