"""The two errors that a user can mend; everything else is a bug and keeps its traceback."""


class PoseError(Exception):
    """A failure that the user can mend: one line that names the file, row or key, and the remedy."""

    exit_code = 1


class UsageError(PoseError, ValueError):
    """A wrong key, value or command: nothing has been started."""

    exit_code = 2
