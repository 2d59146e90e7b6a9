"""`python -m cryofs` is the `cryofs` command."""

from cryofs.cli import main

main()
