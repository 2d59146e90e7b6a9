"""Read and validate settings and mount options."""
