"""FUSE: a thin layer over the file system, and the only room that knows mfusepy and errno."""
