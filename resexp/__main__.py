"""`python -m resexp` runs the same program as `resexp`."""

from resexp.cli import main

if __name__ == "__main__":
    main()
