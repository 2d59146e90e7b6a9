"""Creation of archived movies: plan, encode, write."""
