from __future__ import annotations

import os
from pathlib import Path

import pytest

from autonodes.core.errors import EnvironmentFault
from local_machines import context
from providers.local import LocalProvider, host
from providers.local.cgroups import Hierarchy


def test_without_root_the_remedy_is_kwok() -> None:
    host.check_root(0)
    with pytest.raises(EnvironmentFault, match=r"need root.*--provider kwok"):
        host.check_root(1000)


def test_missing_tools_are_named_with_their_packages(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"not installed: ip, nft.*apt-get install iproute2 nftables"):
        host.check_tools(str(tmp_path))


def test_missing_controllers_are_named(tmp_path: Path) -> None:
    v1 = [Hierarchy("/c", ("cpu", "cpuacct")), Hierarchy("/s", ("cpuset",))]
    with pytest.raises(EnvironmentFault, match="no control groups for: memory"):
        host.check_controllers(v1)
    host.check_controllers([*v1, Hierarchy("/m", ("memory",))])
    (tmp_path / "cgroup.controllers").write_text("cpu cpuset io memory pids\n")
    host.check_controllers([Hierarchy(str(tmp_path), ())])


def test_components_are_taken_from_the_first_directory_that_has_them(tmp_path: Path) -> None:
    for directory, name in (("a", "runc"), ("b", "runc"), ("b", "ctr")):
        path = tmp_path / directory / name
        path.parent.mkdir(exist_ok=True)
        path.touch(0o755)
    found = host.find_binaries(["runc", "ctr"], [tmp_path / "a", tmp_path / "b"])
    assert found == {"runc": str(tmp_path / "a/runc"), "ctr": str(tmp_path / "b/ctr")}
    with pytest.raises(EnvironmentFault, match="components are missing: kubelet"):
        host.find_binaries(["runc", "kubelet"], [tmp_path / "a"])


def test_the_size_is_what_the_kernel_says(tmp_path: Path) -> None:
    size = host.size(tmp_path)
    assert size.cpu == 1000 * (os.cpu_count() or 1)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(size.memory - pages) < pages // 10
    assert size.disk > 0


async def test_there_is_nothing_to_remove_where_nothing_was_made(tmp_path: Path) -> None:
    provider = LocalProvider(context(tmp_path, cluster="never-started", uplink="100.64.0.0/30"))
    await provider.purge()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- an async test, and pathlib would block just the same
