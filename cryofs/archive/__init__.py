"""Working on archives: scan what a command is given, verify, extract, adopt, info."""
