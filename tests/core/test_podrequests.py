"""Cases from the tables of KEP-753 and KEP-2837."""

import pytest

from autonodes.core.podrequests import Container, pod_requests


def main(cpu: int, **fields: object) -> Container:
    return Container({"cpu": cpu}, **fields)  # type: ignore[arg-type]


def sidecar(cpu: int) -> Container:
    return main(cpu, restartable=True)


CASES = [
    ("containers run together", [main(1), main(2)], [], 3),
    ("init containers run one after another", [main(1)], [main(5), main(3)], 5),
    ("init containers are gone when containers run", [main(4), main(4)], [main(5)], 8),
    ("a sidecar stays", [main(1)], [sidecar(2)], 3),
    ("an init container runs beside the sidecars before it", [main(1)], [sidecar(2), main(5)], 7),
    ("a sidecar that starts later is not there yet", [main(1)], [main(5), sidecar(2)], 5),
    ("sidecars add up", [main(1)], [sidecar(2), sidecar(3), main(1)], 6),
    ("a sidecar starts beside the earlier ones", [], [sidecar(2), sidecar(3)], 5),
    ("no containers", [], [], 0),
]


@pytest.mark.parametrize(("containers", "inits", "cpu"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_containers_add_up_as_the_scheduler_adds_them(
    containers: list[Container], inits: list[Container], cpu: int
) -> None:
    expected = {"cpu": cpu, "pods": 1} if cpu else {"pods": 1}
    assert pod_requests(containers, inits) == expected


def test_a_limit_without_a_request_is_the_request() -> None:
    container = Container({"cpu": 1}, {"cpu": 4, "memory": 2, "nvidia.com/gpu": 1})
    assert pod_requests([container]) == {"cpu": 1, "memory": 2, "nvidia.com/gpu": 1, "pods": 1}


def test_overhead_is_added_on_top() -> None:
    assert pod_requests([main(1)], overhead={"cpu": 2, "memory": 3}) == {"cpu": 3, "memory": 3, "pods": 1}


def test_pod_level_requests_replace_the_sum_for_what_they_support() -> None:
    containers = [Container({"cpu": 1, "memory": 1, "nvidia.com/gpu": 1})]
    level = {"cpu": 5, "hugepages-2Mi": 2, "nvidia.com/gpu": 9}
    found = pod_requests(containers, [main(7)], pod_requests=level, overhead={"cpu": 1})
    assert found == {"cpu": 6, "memory": 1, "hugepages-2Mi": 2, "nvidia.com/gpu": 1, "pods": 1}


def test_a_pod_level_limit_counts_where_no_container_requests_anything() -> None:
    assert pod_requests([main(1)], pod_limits={"cpu": 5, "memory": 3}) == {"cpu": 1, "memory": 3, "pods": 1}


def test_during_a_resize_the_greater_of_asked_and_given_counts() -> None:
    growing, shrinking = main(4, allocated={"cpu": 1}), main(1, allocated={"cpu": 4})
    assert pod_requests([growing])["cpu"] == 4
    assert pod_requests([shrinking])["cpu"] == 4
    assert pod_requests([growing, shrinking])["cpu"] == 5
