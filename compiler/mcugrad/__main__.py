"""`python -m mcugrad` is the `mcugrad` command."""

from mcugrad.cli import main

if __name__ == "__main__":
    main()
