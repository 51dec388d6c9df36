"""The infrastructure. Put its API here: as generated, a machine is a file in a directory.

What the rest relies on: `order` is carried out once for a UID, whoever asks how often; `all` is complete or raises.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autonodes.provider import ProviderError

Record = Mapping[str, Any]
"""``uid``, ``tags``, ``type``, ``zone``, ``capacity``, ``created_at``, ``boot`` (path → content in hex, and mode)."""


class InfrastructureError(ProviderError):
    """It refused, or did not answer."""


class SoldOutError(InfrastructureError):
    """No machine of this type is left in this zone."""


class Infrastructure:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def order(self, record: Record) -> Record:
        """The machine of this UID: this one, or the one that is there already.

        :raises SoldOutError: nothing was ordered
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        aside = self._directory / f".{uuid.uuid4().hex}"
        aside.write_text(json.dumps(record))
        try:
            os.link(aside, self._path(record["uid"]))  # only the first one succeeds
        except FileExistsError:
            pass
        finally:
            aside.unlink()
        found = await self.find(record["uid"])
        if found is None:
            raise InfrastructureError(f"machine {record['uid']} went as it came")
        return found

    async def find(self, uid: str) -> Record | None:
        """None if there is no such machine."""
        try:
            found: Record = json.loads(self._path(uid).read_text())
        except FileNotFoundError:
            return None
        return found

    async def all(self) -> list[Record]:
        """Every machine."""
        if not self._directory.exists():
            return []
        names = sorted(path.stem for path in self._directory.glob("*.json"))
        return [record for name in names if (record := await self.find(name)) is not None]

    async def remove(self, uid: str) -> None:
        """Gone when it returns."""
        self._path(uid).unlink(missing_ok=True)

    def _path(self, uid: str) -> Path:
        return self._directory / f"{uid}.json"
