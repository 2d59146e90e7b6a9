"""Checks of the machine, its administration, mounts and archives."""
