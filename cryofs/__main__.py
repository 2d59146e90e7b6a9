"""`python -m cryofs` is the `cryofs` command."""

from cryofs.cli import main

if __name__ == "__main__":
    main()
