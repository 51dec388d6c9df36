"""The kinds of node classes that other packages bring, found through the entry-point group ``autonodes.nodeclasses``.

An entry point is called as its provider is in ``vcluster.yaml`` and names a subclass of
:class:`~autonodes.api.objects.CustomResource` in ``autonodes.io/v1alpha1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from autonodes.api.objects import CustomResource
from autonodes.core.errors import EnvironmentFault

ENTRY_POINTS: Final = "autonodes.nodeclasses"


def node_classes() -> Mapping[str, type[CustomResource]]:
    """Provider → the kind of its node class.

    :raises EnvironmentFault: a package that is installed can't be used
    """
    found: dict[str, type[CustomResource]] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: each.name):
        kind = entry.load()
        if not (isinstance(kind, type) and issubclass(kind, CustomResource)):
            raise EnvironmentFault(
                f"the entry point {entry.name} of {ENTRY_POINTS} is {entry.value}",
                "it must name a subclass of autonodes.api.objects.CustomResource; remove the package, or mend it",
            )
        found[entry.name] = kind
    return found
