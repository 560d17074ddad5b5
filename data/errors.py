"""The errors a user can mend. Each message says what was got, what was expected, and what to do.

::

    LimitlensError           exit code 1
    ├── InputError       4   a delivered file or table breaks its contract
    ├── QueryError       1   SQL that does more than read the tables of the ledger
    ├── ConfigError      4   a policy or settings file is wrong
    ├── WorkspaceError   1   a step is missing, or there is no room
    │   ├── BusyError    5   another run is in progress
    │   ├── GateError    3   a release was refused
    │   └── NoRoomError  1   the disk is full
    └── IntegrityError   6   a recorded value cannot be reproduced, or a file is not the one recorded
"""

from typing import ClassVar


class LimitlensError(Exception):
    """Base of all errors that limitlens raises on purpose; the command line prints them in one line."""

    #: With which the command line ends.
    exit_code: ClassVar[int] = 1


class InputError(LimitlensError):
    """A delivered file or table breaks its contract as a whole, so nothing of it is taken in."""

    exit_code = 4


class QueryError(LimitlensError):
    """SQL of a user is none, or does more than read the tables of the ledger."""


class ConfigError(LimitlensError):
    """A policy or settings file is wrong."""

    exit_code = 4


class WorkspaceError(LimitlensError):
    """A step is missing, or there is no room."""


class BusyError(WorkspaceError):
    """Another run holds the workspace."""

    exit_code = 5


class GateError(WorkspaceError):
    """A release was refused: it would move more than the policy allows, or was not reviewed."""

    exit_code = 3


class NoRoomError(WorkspaceError):
    """The disk or a quota is full."""


class IntegrityError(LimitlensError):
    """A recorded value cannot be reproduced, or a file is not the one that was recorded."""

    exit_code = 6
