"""What protects pods and nodes from being disrupted on purpose: the ``karpenter.sh/do-not-disrupt`` annotation.

``"true"`` protects for good. A duration (``30m``) on a pod protects it for so long after its start; one that doesn't
parse protects nothing, as in Karpenter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autonodes.core.durations import parse_duration
from autonodes.core.errors import ConfigError
from autonodes.core.labels import DO_NOT_DISRUPT
from autonodes.core.model import Pod

STUCK_AFTER: Final = 60.0
"""Seconds after the end of its grace period at which a terminating pod no longer counts: its kubelet is gone."""


def protected(annotations: Mapping[str, str]) -> bool:
    """Whether a node or claim is."""
    return annotations.get(DO_NOT_DISRUPT) == "true"


def protected_pod(pod: Pod, now: float) -> bool:
    """Whether an active pod is; one that has ended or is on its way out is not."""
    value = pod.annotations.get(DO_NOT_DISRUPT)
    if value is None or pod.terminal or pod.deleted_at is not None:
        return False
    if value == "true":
        return True
    try:
        duration = parse_duration(value)
    except ConfigError:
        return False
    if duration is None or duration <= 0:
        return False
    return pod.started_at is None or now < pod.started_at + duration


def stuck(pod: Pod, now: float) -> bool:
    """It should have been gone for a while. ``deleted_at`` is the end of its grace period."""
    return pod.deleted_at is not None and now > pod.deleted_at + STUCK_AFTER
