"""`python -m edgefc`."""

from edgefc.cli.app import main

if __name__ == "__main__":
    main()
