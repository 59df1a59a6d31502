"""`python -m liveavatar` is the same as `liveavatar`."""

import sys

from liveavatar.cli import main

if __name__ == "__main__":
    sys.exit(main())
