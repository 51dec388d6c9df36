"""The join script is run: against a metadata service of the test's own, into a directory that stands for the root."""

from __future__ import annotations

import email
import gzip
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from autonodes.core.model import Taint
from autonodes.provider import BootFile, BootPlan, BootProcess
from joiner.bootstrap import ClaimBootstrap, ClusterAccess
from providers.aws import tags, userdata
from providers.aws.catalogue import rows
from providers.aws.instancetypes import Sizing

ACCESS = ClusterAccess(server="https://api.example.com:6443", ca=b"a certificate")
SETTINGS = userdata.settings(region="us-east-1", arch="amd64", capacity_type="spot")
TYPES = {name: rows()[name] for name in ("m5.large", "c6i.xlarge")}
SESSION = "a-session-of-imdsv2"


class Metadata(ThreadingHTTPServer):
    """IMDSv2: without a session it answers nothing."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.facts = facts

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._say(SESSION if self.path == "/latest/api/token" else None)

            def do_GET(self) -> None:
                known = self.headers.get("X-aws-ec2-metadata-token") == SESSION
                self._say(facts.get(self.path.removeprefix("/latest/meta-data/")) if known else None)

            def _say(self, text: str | None) -> None:
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Runs the script of some user data as a machine; what it wrote is below the path."""
    servers: list[Metadata] = []

    def run(data: bytes, instance_id: str, marks: dict[str, str] | None = None) -> Path:
        facts = {
            "instance-id": instance_id,
            "placement/availability-zone": "us-east-1b",
            "instance-type": "m5.large",
            "tags/instance": "\n".join(marks or {}),
            **{f"tags/instance/{key}": value for key, value in (marks or {}).items()},
        }
        server = Metadata(facts)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        root, programs = tmp_path / instance_id, tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        log = tmp_path / f"{instance_id}.systemctl"
        systemctl = programs / "systemctl"
        systemctl.write_text('#!/bin/sh\necho "$@" >>"$SYSTEMCTL_LOG"\n')
        systemctl.chmod(0o755)
        done = subprocess.run(
            ["bash", "-s"],
            input=parts(data)[-1],
            text=True,
            capture_output=True,
            check=False,
            timeout=60,
            env={
                "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
                "AUTONODES_ROOT": str(root),
                "AUTONODES_METADATA": f"http://127.0.0.1:{server.server_address[1]}",
                "SYSTEMCTL_LOG": str(log),
            },
        )
        assert done.returncode == 0, done.stderr
        assert log.read_text().splitlines()[-1].startswith("enable --now")
        return root

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def parts(data: bytes) -> list[str]:
    found = email.message_from_bytes(gzip.decompress(data))
    return [part.get_payload(decode=True).decode() for part in found.walk() if not part.is_multipart()]  # type: ignore[union-attr]


def plan(name: str, token: str) -> BootPlan:
    taints = (Taint("karpenter.sh/unregistered", "", "NoExecute"),)
    return ClaimBootstrap(node_name=name, token=token, access=ACCESS, taints=taints).boot_plan(SETTINGS)


def test_a_machine_fills_in_what_it_turns_out_to_be(boot: Callable[..., Path]) -> None:
    data = userdata.render([plan("a", "aaaaaa.0123456789abcdef")], TYPES, Sizing(), None)
    root = boot(data, "i-0a")
    kubelet = yaml.safe_load((root / "etc/kubernetes/kubelet.yaml").read_text())
    assert kubelet["providerID"] == "aws:///us-east-1b/i-0a"
    assert kubelet["maxPods"] == 29
    assert kubelet["systemReserved"] == {"cpu": "70m", "memory": str((255 + 11 * 29) * 2**20),
                                         "ephemeral-storage": "1Gi"}  # fmt: skip
    unit = (root / "etc/systemd/system/autonodes-kubelet.service").read_text()
    assert "topology.kubernetes.io/zone=us-east-1b" in unit
    assert "node.kubernetes.io/instance-type=m5.large" in unit
    assert '"--hostname-override=a"' in unit
    assert "@" not in unit


def test_credentials_are_readable_by_their_owner_only(boot: Callable[..., Path]) -> None:
    root = boot(userdata.render([plan("a", "aaaaaa.0123456789abcdef")], TYPES, Sizing(), None), "i-0a")
    kubeconfig = root / "etc/kubernetes/bootstrap.kubeconfig"
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert (root / "etc/kubernetes/ca.crt").read_bytes() == b"a certificate"


def test_each_machine_of_an_order_becomes_the_node_of_its_own_claim(boot: Callable[..., Path]) -> None:
    tokens = {name: f"{name * 6}.0123456789abcdef" for name in "abc"}
    data = userdata.render([plan(name, token) for name, token in tokens.items()], TYPES, Sizing(), None)
    marks = tags.machines(["i-0c", None, "i-0a"])
    for instance_id, name in (("i-0c", "a"), ("i-0a", "c")):
        root = boot(data, instance_id, marks)
        assert tokens[name] in (root / "etc/kubernetes/bootstrap.kubeconfig").read_text()
        assert f'"--hostname-override={name}"' in (root / "etc/systemd/system/autonodes-kubelet.service").read_text()


def test_files_arrive_byte_for_byte(boot: Callable[..., Path]) -> None:
    files = (
        BootFile(path="/etc/x/text", content="naïve: {yaml}\n\t'quoted' \"$HOME\" # %\n".encode()),
        BootFile(path="/etc/x/binary", content=bytes(range(256)) * 4, mode=0o640),
        BootFile(path="/etc/x/empty", content=b""),
    )
    process = BootProcess(name="containerd", argv=("containerd", 'a "b" 50% $c \\'), env={"A": "b c"})
    root = boot(
        userdata.render([BootPlan(node_name="a", files=files, processes=(process,))], TYPES, Sizing(), ""), "i-0"
    )
    for file in files:
        path = root / file.path.lstrip("/")
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (file.content, file.mode)
    unit = (root / "etc/systemd/system/autonodes-containerd.service").read_text()
    assert 'ExecStart="/opt/autonodes/bin/containerd" "a \\"b\\" 50%% $$c \\\\"' in unit
    assert 'Environment="A=b c"' in unit


def test_the_users_own_data_runs_before(tmp_path: Path) -> None:
    script = userdata.render([plan("a", "t")], TYPES, Sizing(), "#!/bin/sh\necho mine\n")
    assert parts(script)[0] == "#!/bin/sh\necho mine\n"
    config = email.message_from_bytes(
        gzip.decompress(userdata.render([plan("a", "t")], TYPES, Sizing(), "#cloud-config\n{}\n"))
    )
    assert [part.get_content_type() for part in config.walk()][1:] == ["text/cloud-config", "text/x-shellscript"]


def test_a_users_mime_document_keeps_its_parts() -> None:
    own = (
        'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/cloud-config\n\n'
        "#cloud-config\n\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n\n--b--\n"
    )
    found = parts(userdata.render([plan("a", "t")], TYPES, Sizing(), own))
    assert [each.split("\n")[0] for each in found] == ["#cloud-config", "#!/bin/sh", "#!/bin/bash"]


def test_the_same_order_has_the_same_bytes_and_fifty_claims_fit() -> None:
    plans = [plan(f"default-{number:05}", f"{number:06}.{number * 7919:016x}") for number in range(50)]
    first = userdata.render(plans, TYPES, Sizing(), None)
    assert first == userdata.render(plans, TYPES, Sizing(), None)
    assert len(first) < userdata.LONGEST
