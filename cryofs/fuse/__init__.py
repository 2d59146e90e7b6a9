"""The FUSE adapter of the file system. Only this package uses mfusepy and maps exceptions to errno."""
