"""The error tree, drawn once.

AutonodesError
├── ConfigError            what a user wrote is wrong: names the field, the value and the remedy
│   ├── QuantityError      a quantity that does not parse
│   ├── ScheduleError      a cron schedule that does not parse
│   └── InvalidDocumentError   several of them, all that is wrong with one document
├── EnvironmentFault       this machine can't do it: no root, port taken, disk full, component missing
├── ApiError               the API server answered with a Status (kube/)
│   ├── NotFoundError, AlreadyExistsError, ConflictError, GoneError, UnauthorizedError, ForbiddenError,
│   │   InvalidError, TooManyRequestsError, ServerError
│   └── ApiUnreachableError    no answer at all: nothing may be concluded from it
└── ProviderError          a provider's answer (provider.py)
    ├── MachineNotFoundError
    ├── InsufficientCapacityError
    ├── NodeClassNotReadyError
    └── CreateError
"""

from __future__ import annotations

from collections.abc import Sequence


class AutonodesError(Exception):
    """Anything that this project raises on purpose. ``str()`` says what happened and how to mend it."""


class ConfigError(AutonodesError):
    """Bad input.

    :param path: where, as a user would write it: ``spec.template.spec.requirements[0].operator``
    :param value: what stood there
    :param remedy: what to write instead, a full sentence or a nearest known key
    """

    def __init__(self, path: str, value: object, remedy: str) -> None:
        super().__init__(path, value, remedy)
        self.path, self.value, self.remedy = path, value, remedy

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.path}: {self.remedy}"
        shown = repr(self.value)
        return f"{self.path}: {shown if len(shown) <= 100 else shown[:97] + '...'}: {self.remedy}"


class QuantityError(ConfigError):
    """A quantity that is not in Kubernetes' notation (``100m``, ``1.5``, ``2Gi``, ``1e3``)."""


class ScheduleError(ConfigError):
    """A schedule that is not five cron fields or one of ``@hourly``, ``@daily``, …"""


class InvalidDocumentError(ConfigError):
    """All that is wrong with one document; its own path, value and remedy are the first fault's.

    :param source: the file or object, ``vcluster.yaml``, ``NodePool/default``
    :param errors: at least one
    """

    def __init__(self, source: str, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors[0].path, errors[0].value, errors[0].remedy)
        self.source, self.errors = source, tuple(errors)

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {error}" for error in self.errors)


class EnvironmentFault(AutonodesError):
    """This machine can't do what was asked; the text says what is missing and how to get it.

    :param problem: what is wrong
    :param remedy: what the user can do
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"
