"""File access: reads at an offset, atomic writes by drafts, file identity, and checksums."""
