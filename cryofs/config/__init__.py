"""Settings and mount options, validated."""
