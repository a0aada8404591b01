"""What yolopose says: `log.info` goes to standard output, warnings and worse to standard error.

It is the ordinary logger "yolopose": a program that embeds the package silences or redirects it as any other logger.
"""

import logging
import sys

log = logging.getLogger("yolopose")


class _Console(logging.Handler):
    """Writes to whatever `sys.stdout` and `sys.stderr` are at the time, so that redirections hold."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, warnings with their level in front."""
        serious = record.levelno >= logging.WARNING
        stream = sys.stderr if serious else sys.stdout
        try:
            print(
                f"{record.levelname}: {record.getMessage()}" if serious else record.getMessage(),
                file=stream,
                flush=True,
            )
        except BrokenPipeError:  # `yolo … | head` has seen enough
            sys.stdout = None


if not log.handlers:
    log.addHandler(_Console())
    log.setLevel(logging.INFO)
