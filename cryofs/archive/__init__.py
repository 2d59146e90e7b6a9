"""Making and checking archives: compress, estimate gains, verify, extract, savings."""
