"""The archive as a POSIX file system, independent of FUSE: names, attributes, open files, reads at an offset."""
