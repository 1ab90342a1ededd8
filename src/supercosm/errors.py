"""The errors a user can cause: each message names the value, what was expected, and the way out."""


class SupercosmError(Exception):
    """Base of all errors that end a command with one sentence instead of a traceback."""


class ConfigurationError(SupercosmError):
    """A configuration that cannot be run."""


class DataError(SupercosmError):
    """A file that is missing, damaged, of the wrong kind, or holds impossible values."""


class CoverageError(SupercosmError):
    """A snapshot that a model was not trained for."""


class StoppedError(SupercosmError):
    """Work that ended early because the process was asked to stop; the same command goes on from there."""


class LostError(SupercosmError):
    """A process that cannot go on because one of those that it trains with has ended."""
