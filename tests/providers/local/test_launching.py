from __future__ import annotations

from pathlib import Path

from providers.local.launching import resolv_conf


def test_name_servers_on_the_loopback_are_no_use_to_a_machine(tmp_path: Path) -> None:
    stub, behind = tmp_path / "stub", tmp_path / "behind"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    assert resolv_conf([stub, behind]) == ""
    behind.write_text("nameserver 192.0.2.53\nsearch example.org\n")
    assert resolv_conf([stub, behind]) == "nameserver 192.0.2.53\nsearch example.org\n"
    stub.write_text("nameserver 127.0.0.1\nnameserver 192.0.2.1\n")
    assert resolv_conf([stub, behind]) == "nameserver 192.0.2.1\n"
