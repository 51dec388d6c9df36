"""The program's log on standard error: lines for people, or for programs a JSON object each.

``{"ts":"2026-03-01T10:00:00.120Z","level":"info","logger":"autonodes.controllers.launch","msg":"launched …"}``, with
``error`` and ``stack`` where something was raised. Kubernetes' own names where it has any (``--logging-format``).
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final, Literal

Form = Literal["text", "json"]

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure(form: Form) -> None:
    """For this process, from INFO on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """One line a record, whatever its text holds."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"ts": at, "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line |= {"error": repr(record.exc_info[1]), "stack": self.formatException(record.exc_info)}
        return json.dumps(line, ensure_ascii=False)
