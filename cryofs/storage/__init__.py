"""Access files: read at an offset, write drafts and rename them, identify files, and compute checksums."""
