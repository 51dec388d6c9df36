"""The server's Status decides the type of an error; anything else proves nothing about an object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autonodes.kube.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
    error_from_response,
)


def status(code: int, reason: str, **details: Any) -> bytes:
    body = {"kind": "Status", "message": "why", "reason": reason, "code": code, "details": details}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (404, "NotFound", NotFoundError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (410, "Expired", GoneError),
        (410, "Gone", GoneError),
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", ForbiddenError),
        (422, "Invalid", InvalidError),
        (400, "BadRequest", InvalidError),
        (500, "InternalError", ServerError),
        (504, "Timeout", ServerError),
        (418, "Teapot", ApiError),
    ],
)
def test_each_status_has_its_type(code: int, reason: str, kind: type[ApiError]) -> None:
    error = error_from_response(code, status(code, reason), request="GET /x")
    assert type(error) is kind
    assert str(error) == f"GET /x: {code} {reason}: why"


@pytest.mark.parametrize("body", [b"404 page not found\n", b"<html>", b"", b"{}", b"[1]", b'{"kind": "Pod"}'])
def test_a_404_that_is_no_status_says_nothing_about_an_object(body: bytes) -> None:
    error = error_from_response(404, body, request="GET /x")
    assert type(error) is ApiError
    assert error.code == 404


def test_a_disruption_budget_is_told_from_an_overloaded_server() -> None:
    causes = [{"reason": "DisruptionBudget", "message": "needs 1"}]
    guarded = error_from_response(429, status(429, "TooManyRequests", causes=causes), request="POST /x")
    assert isinstance(guarded, TooManyRequestsError)
    assert guarded.disruption_budget
    shed = error_from_response(429, b"too many requests", request="POST /x", retry_after=1.0)
    assert isinstance(shed, TooManyRequestsError)
    assert not shed.disruption_budget
    assert shed.retry_after == 1.0


def test_the_longer_wait_that_the_server_names_counts() -> None:
    error = error_from_response(429, status(429, "x", retryAfterSeconds=7), request="", retry_after=2.0)
    assert isinstance(error, TooManyRequestsError)
    assert error.retry_after == 7.0
