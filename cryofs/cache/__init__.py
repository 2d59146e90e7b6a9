"""Keep decoded frames in memory, up to a limit in bytes; decode each frame only once at a time, and read ahead."""
