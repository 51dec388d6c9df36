"""What a cluster made on this machine is gone when it is down."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import Cluster, kubectl_path, wait_for
from e2e.test_cluster import pod, running
from leftovers import Footprint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def test_down_leaves_no_process_mount_namespace_link_cgroup_or_file(tmp_path: Path) -> None:
    before = Footprint.now()
    cluster = Cluster(name="gone", home=tmp_path, kubectl_path=kubectl_path())
    try:
        assert cluster.autonodes("up", "--name", "gone").returncode == 0
        cluster.apply(pod("one", "sleep 3600"))
        running(cluster, "one")
    finally:
        down = cluster.autonodes("down", "--name", "gone")
    assert down.returncode == 0, down.stderr

    def nothing_is_left() -> bool:
        left = Footprint.now().added_since(before)
        assert not left, left
        return True

    wait_for("nothing is left", nothing_is_left, seconds=30)
    assert list(tmp_path.iterdir()) == []
    again = cluster.autonodes("down", "--name", "gone")
    assert again.returncode == 0, again.stderr
