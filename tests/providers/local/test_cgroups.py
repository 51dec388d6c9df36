from __future__ import annotations

import pytest

from providers.local.cgroups import Hierarchy, parse_mounts

V1 = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_1_hierarchies_are_found_with_their_controllers() -> None:
    assert parse_mounts(V1) == (
        Hierarchy("/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct")),
        Hierarchy("/sys/fs/cgroup/cpuset", ("cpuset",)),
        Hierarchy("/sys/fs/cgroup/systemd", ("name=systemd",)),
    )


def test_a_version_2_hierarchy_beside_them_counts_too() -> None:
    assert parse_mounts(V1 + UNIFIED)[-1] == Hierarchy("/sys/fs/cgroup/unified", ())


def test_version_2_is_one_hierarchy() -> None:
    (only,) = parse_mounts(V2)
    assert only.unified
    assert only.mount_point == "/sys/fs/cgroup"


@pytest.mark.parametrize("text", [V1, V2, V1 + UNIFIED])
def test_a_hierarchy_that_is_mounted_twice_counts_once(text: str) -> None:
    again = text.replace("/sys/fs/cgroup", "/var/lib/elsewhere")
    assert parse_mounts(text + again) == parse_mounts(text)
