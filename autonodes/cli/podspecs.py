"""What is wrong with a pod's spec, as far as scheduling depends on it: unknown keys and quantities that don't parse.

An API server would refuse such an object; a plan is made without one. Only the parts that scheduling reads are gone
through: a slip in an environment variable changes no plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from autonodes.api.validation import nearest
from autonodes.core.errors import ConfigError, QuantityError
from autonodes.core.quantities import parse_resource

Fields = Mapping[str, Any]
"""Known key → the fields below it: a mapping, in brackets if it is a list of them, or None for "not looked at"."""


def faults(spec: object, path: str = "spec") -> list[ConfigError]:
    """Everything that is wrong, in the spec's order.

    :param path: where the spec stands in its object
    """
    found = list(_unknown(spec, POD, path))
    if not found and isinstance(spec, Mapping):
        found = list(_quantities(spec, path))
    return found


def _unknown(body: object, known: Fields, path: str) -> Iterator[ConfigError]:
    if not isinstance(body, Mapping):
        yield ConfigError(path, body, "write a mapping, that is lines of the form key: value")
        return
    for key, value in body.items():
        if key not in known:
            close = nearest(str(key), known)
            remedy = f'unknown key "{key}"' + (f': did you mean "{close}"?' if close else "")
            yield ConfigError(f"{path}.{key}", value, remedy)
        elif value is not None and known[key] is not None:
            yield from _below(value, known[key], f"{path}.{key}")


def _below(value: object, known: Any, path: str) -> Iterator[ConfigError]:
    if not isinstance(known, list):
        yield from _unknown(value, known, path)
    elif not isinstance(value, list):
        yield ConfigError(path, value, "write a list, that is lines that start with -")
    else:
        for index, item in enumerate(value):
            yield from _unknown(item, known[0], f"{path}[{index}]")


def _quantities(spec: Mapping[str, Any], path: str) -> Iterator[ConfigError]:
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _of_resources(container.get("resources"), f"{path}.{field}[{index}].resources")
    yield from _of_resources(spec.get("resources"), f"{path}.resources")
    yield from _of_amounts(spec.get("overhead"), f"{path}.overhead")


def _of_resources(resources: Mapping[str, Any] | None, path: str) -> Iterator[ConfigError]:
    for field in ("requests", "limits"):
        yield from _of_amounts((resources or {}).get(field), f"{path}.{field}")


def _of_amounts(amounts: object, path: str) -> Iterator[ConfigError]:
    if amounts is not None and not isinstance(amounts, Mapping):
        yield ConfigError(path, amounts, "write a mapping, that is lines of the form key: value")
        return
    for name, value in (amounts or {}).items():
        try:
            parse_resource(name, value, path=f"{path}.{name}")
        except QuantityError as error:
            yield error


def _keys(words: str) -> dict[str, None]:
    return dict.fromkeys(words.split())


_EXPRESSION: Final[Fields] = _keys("key operator values")
_SELECTOR: Final[Fields] = {"matchLabels": None, "matchExpressions": [_EXPRESSION]}
_NODE_TERM: Final[Fields] = {"matchExpressions": [_EXPRESSION], "matchFields": [_EXPRESSION]}
_POD_TERM: Final[Fields] = {
    **_keys("topologyKey namespaces matchLabelKeys mismatchLabelKeys"),
    "labelSelector": _SELECTOR,
    "namespaceSelector": _SELECTOR,
}
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_POD_AFFINITY: Final[Fields] = {
    _REQUIRED: [_POD_TERM],
    _PREFERRED: [{"weight": None, "podAffinityTerm": _POD_TERM}],
}
_AFFINITY: Final[Fields] = {
    "nodeAffinity": {
        _REQUIRED: {"nodeSelectorTerms": [_NODE_TERM]},
        _PREFERRED: [{"weight": None, "preference": _NODE_TERM}],
    },
    "podAffinity": _POD_AFFINITY,
    "podAntiAffinity": _POD_AFFINITY,
}
_RESOURCES: Final[Fields] = _keys("requests limits claims")
_CONTAINER: Final[Fields] = {
    **_keys(
        "name image command args workingDir envFrom env volumeMounts volumeDevices livenessProbe readinessProbe "
        "startupProbe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin "
        "stdinOnce tty resizePolicy restartPolicy restartPolicyRules"
    ),
    "resources": _RESOURCES,
    "ports": [_keys("name hostPort containerPort protocol hostIP")],
}
_SPREAD: Final[Fields] = {
    **_keys("maxSkew topologyKey whenUnsatisfiable minDomains nodeAffinityPolicy nodeTaintsPolicy matchLabelKeys"),
    "labelSelector": _SELECTOR,
}
POD: Final[Fields] = {
    **_keys(
        "volumes ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy "
        "nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID "
        "hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain schedulerName hostAliases "
        "priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy "
        "overhead setHostnameAsFQDN os hostUsers resourceClaims hostnameOverride schedulingGroup workloadRef"
    ),
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "resources": _RESOURCES,
    "affinity": _AFFINITY,
    "tolerations": [_keys("key operator value effect tolerationSeconds")],
    "topologySpreadConstraints": [_SPREAD],
    "schedulingGates": [_keys("name")],
}
"""PodSpec of Kubernetes 1.37."""
