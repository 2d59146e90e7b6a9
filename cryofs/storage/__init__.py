"""File access: reads at an offset, drafts and renames, file identity, checksums."""
