"""Estimate gain references, match them with movies, and store them."""
