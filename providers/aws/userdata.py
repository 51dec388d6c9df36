"""What a machine is told at its first boot: the user's own data, then how to become a node.

EC2 gives all machines of an order the same user data, so it holds each claim's part, and a machine finds out from its
metadata service which one is its own (see `tags`), where it is and what it is. What differs by that stands in the files
as a placeholder and is filled in by the machine. The image must run cloud-init and systemd, and have the components
(containerd, runc, kubelet, the CNI plug-ins) in ``/opt/autonodes/bin``; the user's data runs before, and may put them
there.

The parts of one order can be read by each of its machines until they have joined; each credential in them lets a node
join under one name only, once. `batch: "1"` gives every machine an order of its own.
"""

from __future__ import annotations

import base64
import email
import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from importlib.resources import files
from string import Template
from typing import Final

from autonodes.core import labels
from autonodes.provider import BootFile, BootPlan, BootProcess, NodeSettings, ProviderID
from providers.aws.instancetypes import EVICTION_MEMORY, Sizing, TypeRow, pods, reserved

LONGEST: Final = 16384
"""Bytes, by EC2's rule, before they are encoded."""

_PROVIDER_ID: Final = "@PROVIDER_ID@"
_ZONE: Final = "@ZONE@"
_TYPE: Final = "@INSTANCE_TYPE@"
_CPU: Final = "@RESERVED_CPU@"
_MEMORY: Final = "@RESERVED_MEMORY@"
_MAX_PODS: Final = 999999999
"""A number that stands for another one: the field takes no text."""
_PLACEHOLDERS: Final = tuple(
    each.encode() for each in (_PROVIDER_ID, _ZONE, _TYPE, _CPU, _MEMORY, str(_MAX_PODS))
)  # fmt: skip
_ROOT: Final = "/"


def settings(*, region: str, arch: str, capacity_type: str) -> NodeSettings:
    """Of a machine that is not known yet."""
    return NodeSettings(
        provider_id=ProviderID(_PROVIDER_ID),
        system_reserved={"cpu": _CPU, "memory": _MEMORY, "ephemeral-storage": "1Gi"},
        max_pods=_MAX_PODS,
        labels={
            labels.INSTANCE_TYPE: _TYPE,
            labels.ZONE: _ZONE,
            labels.REGION: region,
            labels.CAPACITY_TYPE: capacity_type,
            labels.ARCH: arch,
            labels.OS: "linux",
        },
        kubelet={
            "cgroupDriver": "cgroupfs",
            "evictionHard": {"memory.available": str(EVICTION_MEMORY), "nodefs.available": "10%"},
        },
    )


def render(plans: Sequence[BootPlan], types: Mapping[str, TypeRow], sizing: Sizing, own: str | None) -> bytes:
    """The user data of one order, compressed; `LONGEST` bytes are allowed.

    :param plans: of each claim, in the order's order
    :param types: those that the order may give
    :param own: the node class's user data
    """
    document = MIMEMultipart()
    for part in _parts(own or ""):
        document.attach(part)
    document.attach(_text(_script(plans, types, sizing), "x-shellscript"))
    digest = hashlib.sha256("".join(str(part.get_payload()) for part in document.get_payload()).encode())  # type: ignore[union-attr]
    document.set_boundary(f"=={digest.hexdigest()}==")
    return gzip.compress(document.as_bytes(), compresslevel=9, mtime=0)


def _parts(own: str) -> Iterator[Message]:
    if not own.strip():
        return
    if own.lstrip().lower().startswith(("mime-version:", "content-type: multipart")):
        for part in email.message_from_string(own.lstrip()).walk():
            if not part.is_multipart():
                yield part
        return
    yield _text(own, "x-shellscript" if own.startswith("#!") else "cloud-config")


def _text(content: str, subtype: str) -> MIMEText:
    """Not encoded where that is possible: it compresses better."""
    return MIMEText(content, subtype, "us-ascii" if content.isascii() else "utf-8")


def _script(plans: Sequence[BootPlan], types: Mapping[str, TypeRow], sizing: Sizing) -> str:
    contents = [[*plan.files, *_units(plan.processes)] for plan in plans]
    common = {_key(file) for file in contents[0]}.intersection(
        *({_key(file) for file in each} for each in contents[1:])
    )
    template = Template(files("providers.aws").joinpath("join.sh").read_text(encoding="utf-8"))
    return template.substitute(
        count=len(plans),
        sizes="\n".join(_sizes(types, sizing)),
        common="\n".join(_written(file) for file in contents[0] if _key(file) in common),
        own="\n".join(
            f"{index})\n" + "\n".join(_written(file) for file in each if _key(file) not in common) + "\n;;"
            for index, each in enumerate(contents)
        ),
        max_pods=_MAX_PODS,
        units=" ".join(_unit(process.name) for process in plans[0].processes),
    )


def _key(file: BootFile) -> tuple[str, int, bytes]:
    return file.path, file.mode, file.content


def _sizes(types: Mapping[str, TypeRow], sizing: Sizing) -> Iterator[str]:
    for name, row in sorted(types.items()):
        kept = reserved(row, sizing)
        yield f"{name}) pods={pods(row, sizing)} cpu={kept['cpu']}m memory={kept['memory']} ;;"


def _written(file: BootFile) -> str:
    """A call of the script's own function; a path has no quote in it."""
    fill = "fill" if any(each in file.content for each in _PLACEHOLDERS) else "keep"
    return f"put '{file.path}' {file.mode:o} {fill} <<'.'\n{base64.b64encode(file.content).decode()}\n."


def _unit(name: str) -> str:
    return f"autonodes-{name}.service"


def _units(processes: Iterable[BootProcess]) -> Iterator[BootFile]:
    after = "network-online.target"
    for process in processes:
        lines = [
            *("[Unit]", f"Description={process.name} of the node", f"After={after}", f"Wants={after}"),
            *("[Service]", *(f"Environment={_quoted(f'{key}={value}')}" for key, value in process.env.items())),
            "ExecStart=" + " ".join(map(_quoted, (f"/opt/autonodes/bin/{process.argv[0]}", *process.argv[1:]))),
            *("Restart=always", "RestartSec=1", "KillMode=process", "Delegate=yes", "LimitNOFILE=1048576"),
            *("TasksMax=infinity", "OOMScoreAdjust=-999"),
            *("[Install]", "WantedBy=multi-user.target", ""),
        ]
        if process.ready_socket:
            wait = f"until test -S {process.ready_socket}; do sleep 0.1; done"
            lines.insert(-3, f"ExecStartPost=/bin/sh -c {_quoted(wait)}")
        yield BootFile(path=f"/etc/systemd/system/{_unit(process.name)}", content="\n".join(lines).encode(), mode=0o600)
        after = _unit(process.name)


def _quoted(word: str) -> str:
    """By systemd's rules: https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html"""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
