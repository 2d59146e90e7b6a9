"""Run the `cryofs` command as `python -m cryofs`."""

from cryofs.cli import main

if __name__ == "__main__":
    main()
