"""Where the ledger of bare-metal hosts is kept: an immutable ConfigMap an entry, named by host and number.

An entry is created and never changed; that its name is taken means that another controller was faster.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from autonodes.core.ledger import Entry
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import AlreadyExistsError
from autonodes.kube.resources import CONFIGMAPS

NAMESPACE: Final = "kube-system"
LABEL: Final = "autonodes.io/ledger-host"
"""On every entry; its value is the host's UID."""


class Ledger:
    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    async def chain(self, host_uid: str) -> list[Entry]:
        """Of one host, oldest first; complete, or it raises."""
        found = await self._kube.list(CONFIGMAPS, NAMESPACE, label_selector=f"{LABEL}={host_uid}")
        return _ordered([_entry(body) for body in found])

    async def chains(self) -> Mapping[str, Sequence[Entry]]:
        """Of all hosts, by the host's UID."""
        chains: dict[str, list[Entry]] = defaultdict(list)
        for body in await self._kube.list(CONFIGMAPS, NAMESPACE, label_selector=LABEL):
            chains[body["metadata"]["labels"][LABEL]].append(_entry(body))
        return {uid: _ordered(entries) for uid, entries in chains.items()}

    async def append(self, host_uid: str, entry: Entry) -> bool:
        """Write it. False if there is another one of that number."""
        body = {
            "metadata": {"name": f"autonodes-ledger-{host_uid}-{entry.sequence:06}", "labels": {LABEL: host_uid}},
            "immutable": True,
            "data": {"entry": json.dumps({**asdict(entry), "proof": dict(entry.proof)}, sort_keys=True)},
        }
        try:
            await self._kube.create(CONFIGMAPS, body, NAMESPACE)
        except AlreadyExistsError:
            return False
        return True


def _entry(body: Mapping[str, Any]) -> Entry:
    return Entry(**json.loads(body["data"]["entry"]))


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda each: each.sequence)
