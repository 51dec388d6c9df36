"""What an API server can answer, as types; and the one case in which it did not answer.

The server's own ``Status`` object decides (``metav1.Status``: code, reason, details), not the text of a message. A 404
without such a Status is *not* a :class:`NotFoundError`: it means that the path is unknown (a CustomResourceDefinition
that is not there yet, a proxy in between), and from that nobody may conclude that an object is gone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from autonodes.core.errors import AutonodesError


class ApiError(AutonodesError):
    """The API server refused, or could not do, a request.

    :param code: the HTTP status, 0 where there was none
    :param reason: the Status' machine-readable reason (``NotFound``, ``AlreadyExists``), or ""
    :param request: verb and path, for people
    :param causes: reason of each of the Status' causes (``DisruptionBudget``, ``FieldValueInvalid``)
    """

    def __init__(
        self, message: str, *, code: int = 0, reason: str = "", request: str = "", causes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.reason, self.request, self.causes = message, code, reason, request, causes

    def __str__(self) -> str:
        what = " ".join(part for part in (str(self.code or ""), self.reason) if part)
        return ": ".join(part for part in (self.request, what, self.message) if part)


class NotFoundError(ApiError):
    """The server knows the resource and says that no such object exists."""


class AlreadyExistsError(ApiError):
    """An object of that name is there already."""


class ConflictError(ApiError):
    """The object changed meanwhile (resourceVersion), is another one (UID precondition), or another field manager
    owns a field: read again, decide again."""


class GoneError(ApiError):
    """The resourceVersion or continue token is too old: list again."""


class UnauthorizedError(ApiError):
    """The credentials were not accepted."""


class ForbiddenError(ApiError):
    """The credentials are good, but may not do this (RBAC, admission, quota, a terminating namespace)."""


class InvalidError(ApiError):
    """The request itself is wrong: it will fail again."""


class ServerError(ApiError):
    """5xx: the server is there and could not do it. Whether a write took place is unknown."""


class TooManyRequestsError(ApiError):
    """The server sheds load, or (from an eviction) a PodDisruptionBudget says no.

    :param retry_after: seconds that the server asks to wait, 0 when it says nothing
    """

    def __init__(self, message: str, *, retry_after: float = 0.0, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after

    @property
    def disruption_budget(self) -> bool:
        """True when a PodDisruptionBudget is the reason."""
        return "DisruptionBudget" in self.causes


class ApiUnreachableError(ApiError):
    """No answer, or half of one. Nothing may be concluded from it; a write may or may not have taken place."""


class _Cause(msgspec.Struct):
    reason: str = ""


class _Details(msgspec.Struct, rename="camel"):
    causes: list[_Cause] | None = None
    retry_after_seconds: float | None = None


class Status(msgspec.Struct):
    """``metav1.Status``, as far as it drives decisions."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


_BY_REASON: dict[str, type[ApiError]] = {
    "AlreadyExists": AlreadyExistsError,
    "NotFound": NotFoundError,
    "Expired": GoneError,
    "Gone": GoneError,
}
_BY_CODE: dict[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
}


def error_from_status(status: Status, *, request: str, retry_after: float = 0.0) -> ApiError:
    """The typed error of a Status object.

    :param retry_after: of the HTTP header, in seconds; the Status' own number counts when it is larger
    """
    details = status.details or _Details()
    causes = tuple(cause.reason for cause in details.causes or ())
    facts: dict[str, Any] = {
        "code": status.code,
        "reason": status.reason,
        "request": request,
        "causes": causes,
    }
    if status.code == 429:
        wait = max(retry_after, details.retry_after_seconds or 0.0)
        return TooManyRequestsError(status.message, retry_after=wait, **facts)
    if status.code >= 500:
        return ServerError(status.message, **facts)
    kind = _BY_REASON.get(status.reason) or _BY_CODE.get(status.code, ApiError)
    return kind(status.message, **facts)


def error_from_response(code: int, body: bytes, *, request: str, retry_after: float = 0.0) -> ApiError:
    """The typed error of an HTTP answer that is not a success, whether or not its body is a Status."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, msgspec.ValidationError):
        status = Status()
    if status.kind != "Status":
        text = body[:200].decode(errors="replace").strip()
        status = Status(kind="Status", message=text, code=code)
    status.code = status.code or code
    return error_from_status(status, request=request, retry_after=retry_after)
