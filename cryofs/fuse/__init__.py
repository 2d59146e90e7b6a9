"""The FUSE adapter of the file system: the only package that uses mfusepy and maps exceptions to errno values."""
