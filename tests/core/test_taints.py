import pytest

from autonodes.core.labels import UNREGISTERED_TAINT
from autonodes.core.model import Taint, Toleration
from autonodes.core.taints import ephemeral, format_taint, lasting, tolerates, untolerated

GPU = Taint("gpu", "yes")


@pytest.mark.parametrize(
    ("toleration", "taint", "expected"),
    [
        (Toleration("gpu", "Equal", "yes"), GPU, True),
        (Toleration("gpu", "", "yes"), GPU, True),
        (Toleration("gpu", "Equal", "no"), GPU, False),
        (Toleration("gpu", "Exists"), GPU, True),
        (Toleration("", "Exists"), GPU, True),
        (Toleration("", "Equal", "yes"), GPU, False),
        (Toleration("tpu", "Exists"), GPU, False),
        (Toleration("gpu", "Exists", "", "NoSchedule"), GPU, True),
        (Toleration("gpu", "Exists", "", "NoExecute"), GPU, False),
        (Toleration("sla", "Gt", "900"), Taint("sla", "950"), True),
        (Toleration("sla", "Gt", "900"), Taint("sla", "900"), False),
        (Toleration("sla", "Lt", "900"), Taint("sla", "800"), True),
        (Toleration("sla", "Lt", "900"), Taint("sla", "word"), False),
        (Toleration("gpu", "Is", "yes"), GPU, False),
    ],
)
def test_a_toleration_matches_by_the_rules_of_the_scheduler(
    toleration: Toleration, taint: Taint, expected: bool
) -> None:
    assert tolerates(toleration, taint) == expected


def test_only_hard_taints_keep_a_pod_away() -> None:
    soft = Taint("soft", "", "PreferNoSchedule")
    assert untolerated([soft], []) is None
    assert untolerated([soft, GPU], []) == GPU
    assert untolerated([Taint("x", "", "NoExecute")], [Toleration("gpu", "Exists")]) == Taint("x", "", "NoExecute")


@pytest.mark.parametrize("key", [UNREGISTERED_TAINT, "node.kubernetes.io/not-ready", "readiness.k8s.io/network"])
def test_taints_of_a_starting_node_pass(key: str) -> None:
    assert ephemeral(Taint(key))
    assert lasting([Taint(key, "", "NoExecute"), GPU, Taint("boot")], [Taint("boot")]) == (GPU,)


def test_a_taint_is_written_as_kubectl_writes_it() -> None:
    assert format_taint(GPU) == "gpu=yes:NoSchedule"
    assert format_taint(Taint("gpu")) == "gpu:NoSchedule"
