"""Resources of the machine and the operating system: memory, cores, mount table, logs and thread pools."""
