"""How a command ends: all that was printed is out, or one sentence says what went wrong."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn


def flush() -> None:
    """Write out what was printed; where nothing takes it any more, neither does Python have to try again at its end."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # of `| head`, which has seen enough
            raise OSError(error.errno, error.strerror, "standard output") from None


def explain(error: OSError) -> str:
    """Name the file and the remedy of an operating-system error; raise it again when it names no file."""
    from supercosm.files import is_full

    if is_full(error):
        return f"the disk is full ({error.filename or 'no file named'}); free some space and run again"
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}; check the path and the permissions"


def fail(reason: Any, code: int = 1) -> NoReturn:
    """Print the reason in one line on standard error, and end with an exit code."""
    if str(reason):  # else another process of the same training says it
        print("supercosm:", " ".join(str(reason).split()), file=sys.stderr)
    sys.exit(code)
