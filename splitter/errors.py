"""Errors a user can act on. The message says what, which value, where, and what to do next.

The command line prints the message alone and exits with ``exit_code``; a traceback is a bug.
"""


class SplitterError(Exception):
    """Base of every error that is the user's, the network's or the machine's to mend."""

    exit_code = 1


class UsageError(SplitterError):
    """An argument or option is unknown or has an impossible value."""

    exit_code = 2


class ModelError(SplitterError):
    """The model cannot be read, traced or compiled as it is."""

    exit_code = 3


class UnsupportedOperatorError(ModelError):
    """An operator has no lowering; names the operator, its layer and the nearest supported form."""


class TopologyError(SplitterError):
    """A topology or device card is malformed or inconsistent."""

    exit_code = 4


class PlanError(SplitterError):
    """A plan file is malformed, or does not hold for this model and topology."""

    exit_code = 5


class InfeasibleError(PlanError):
    """No placement satisfies the constraints."""


class BundleError(SplitterError):
    """A bundle is damaged, incomplete or of another format version."""

    exit_code = 6


class ToolchainError(SplitterError):
    """A compiler, linker or emulator is missing or failed."""

    exit_code = 7


class EquivalenceError(SplitterError):
    """A compiled bundle does not give the unsplit model's answer."""

    exit_code = 8


class DeploymentError(SplitterError):
    """A node or a link failed while a bundle was running."""

    exit_code = 9


class InputError(SplitterError):
    """An input tensor has the wrong name, shape or type, or its file cannot be read."""

    exit_code = 10
