"""Movies: one file for each kind, all giving frames as the bytes of an MRC file."""
