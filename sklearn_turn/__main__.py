"""``python -m sklearn_turn``."""

import io
import sys

from .command import main

if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # which may know no other alphabets
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
