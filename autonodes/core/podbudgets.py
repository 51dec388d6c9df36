"""PodDisruptionBudgets, as far as they say which pods may go now."""

from __future__ import annotations

from dataclasses import dataclass

from autonodes.core.model import Pod
from autonodes.core.requirements import Requirements


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionBudget:
    """:param selector: of pods of its namespace; None selects none, an empty one all
    :param disruptions_allowed: pods that may be evicted now
    :param always_allows_unhealthy: pods that are not ready may be evicted in any case
        (``unhealthyPodEvictionPolicy: AlwaysAllow``, KEP-3017)
    :param fault: why it can't be read, "" if it can: then nobody knows which pods of its namespace it guards
    """

    namespace: str
    name: str
    selector: Requirements | None
    disruptions_allowed: int = 0
    always_allows_unhealthy: bool = False
    fault: str = ""

    def selects(self, pod: Pod) -> bool:
        """Whether it guards the pod."""
        return self.selector is not None and pod.namespace == self.namespace and self.selector.satisfied_by(pod.labels)

    def blocks(self, pod: Pod) -> bool:
        """Whether an eviction of the pod would be refused now because of this budget."""
        if not self.selects(pod) or (self.always_allows_unhealthy and not pod.ready):
            return False
        return self.disruptions_allowed <= 0
