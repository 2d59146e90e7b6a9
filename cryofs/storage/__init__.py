"""Where bytes come from and go: reads at an offset, drafts and renames, file identity, checksums."""
