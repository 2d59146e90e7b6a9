"""Check the machine, the configuration of mounts, live mounts, and archives."""
