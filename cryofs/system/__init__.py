"""What this machine gives: memory, cores, mount table, logs, thread pools."""
