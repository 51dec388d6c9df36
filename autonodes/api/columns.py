"""The columns that ``kubectl get`` prints."""

from __future__ import annotations

from pydantic.config import JsonDict


def column(name: str, path: str, type_: str = "string", *, wide: bool = False) -> JsonDict:
    """One of a CRD's ``additionalPrinterColumns``; ``wide`` ones show with ``-o wide`` only."""
    return {"name": name, "type": type_, "jsonPath": path, **({"priority": 1} if wide else {})}


READY = column("Ready", '.status.conditions[?(@.type=="Ready")].status')
AGE = column("Age", ".metadata.creationTimestamp", "date")
