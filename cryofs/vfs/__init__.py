"""The archive as POSIX sees it, without FUSE: names, attributes, open files, bytes at an offset."""
