"""The log as JSON: a line a record."""

from __future__ import annotations

import json
import logging
import sys

from autonodes.cli.logs import JsonFormatter


def formatted(message: str, *arguments: object, error: BaseException | None = None) -> str:
    raised = None
    if error is not None:
        try:
            raise error
        except type(error):
            raised = sys.exc_info()
    record = logging.LogRecord("autonodes.x", logging.WARNING, __file__, 1, message, arguments, raised)
    record.created = 1_700_000_000.12
    return JsonFormatter().format(record)


def test_a_record_is_one_line_with_its_time_in_utc() -> None:
    line = formatted("node %s:\nis “gone”", "n1")
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": "2023-11-14T22:13:20.120Z",
        "level": "warning",
        "logger": "autonodes.x",
        "msg": "node n1:\nis “gone”",
    }


def test_an_error_comes_with_its_stack() -> None:
    line = json.loads(formatted("a defect", error=ValueError("no")))
    assert line["error"] == "ValueError('no')"
    assert line["stack"].startswith("Traceback")
