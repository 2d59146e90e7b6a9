"""Gain references: estimate, match and store them."""
