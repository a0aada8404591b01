"""`python -m yolopose`: the same command as `yolo`, the form that torchrun starts."""

import sys

from yolopose.cli import main

if __name__ == "__main__":
    sys.exit(main())
