"""The archive as a POSIX file system, independent of FUSE: names, attributes and open files."""
