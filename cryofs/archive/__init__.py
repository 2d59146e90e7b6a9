"""Work on archives: scan sources, verify, extract, compare, adopt, describe."""
