"""Making archived movies: plan, encode, write."""
