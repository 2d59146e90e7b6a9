"""Gain references: estimate them, match them with movies, and store them."""
