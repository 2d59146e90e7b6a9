"""Release tools: generate manual pages, test a wheel."""
