"""How a command ends that cannot do what it was asked to: with one sentence."""

from __future__ import annotations

import sys
from typing import Any, NoReturn


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
