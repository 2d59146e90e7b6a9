"""Movies: one module for each kind, each of which returns frames as the bytes of an MRC file."""
