"""The errors a user can mend. Each message says what was got, what was expected, and what to do.

::

    LimitlensError
    ├── InputError       a delivered file or table breaks its contract
    ├── ConfigError      a policy or settings file is wrong
    ├── WorkspaceError   a step is missing, in progress, or the workspace is damaged
    └── IntegrityError   a recorded value cannot be reproduced, or a file is not the one recorded
"""


class LimitlensError(Exception):
    """Base of all errors that limitlens raises on purpose; the command line prints them in one line."""


class InputError(LimitlensError):
    """A delivered file or table breaks its contract as a whole, so nothing of it is taken in."""


class ConfigError(LimitlensError):
    """A policy or settings file is wrong."""


class WorkspaceError(LimitlensError):
    """A step is missing, already in progress, or the workspace is damaged."""


class IntegrityError(LimitlensError):
    """A recorded value cannot be reproduced, or a file is not the one that was recorded."""
