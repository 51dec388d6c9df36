"""What AWS' error codes mean, in one table.

Codes: https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html. What is in no set is `Fault.REFUSED` when
AWS answered and `Fault.UNKNOWN` when it did not, or said that the failure is its own: then a call that changes
something may have been carried out.
"""

from __future__ import annotations

import enum
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, NoAuthTokenError, NoCredentialsError

from autonodes.provider import NodeClassNotReadyError, ProviderError


class Fault(enum.Enum):
    """What to do about it."""

    CREDENTIALS = "credentials"
    DENIED = "denied"
    NOT_FOUND = "not found"
    EXISTS = "exists"
    CAPACITY = "capacity"
    THROTTLED = "throttled"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_CODES: Final = {
    Fault.CREDENTIALS: (
        *("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"),
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "OptInRequired", "Blocked"),
        *("InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken"),
    ),
    Fault.DENIED: ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"),
    Fault.NOT_FOUND: (
        *("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed", "NoSuchEntity"),
        *("InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound"),
        *("InvalidPlacementGroup.Unknown", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
    ),
    Fault.EXISTS: ("InvalidLaunchTemplateName.AlreadyExistsException", "EntityAlreadyExists"),
    Fault.CAPACITY: (
        *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity"),
        *("InsufficientFreeAddressesInSubnet", "UnfulfillableCapacity", "Unsupported", "UnsupportedOperation"),
        *("MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded", "SpotMaxPriceTooLow"),
        *("ReservationCapacityExceeded", "InsufficientCapacityOnOutpost", "InvalidInstanceType"),
    ),
    Fault.THROTTLED: (
        *("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"),
        *("RequestThrottled", "RequestThrottledException", "SlowDown", "EC2ThrottledException"),
    ),
    Fault.UNKNOWN: ("InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "RequestTimeout"),
}
_MEANING: Final = {code: fault for fault, codes in _CODES.items() for code in codes}


class AwsError(ProviderError):
    """A call that AWS did not carry out, or about which nothing is known.

    :param operation: ``DescribeSubnets``
    :param code: AWS' own
    """

    def __init__(self, operation: str, code: str, message: str, fault: Fault) -> None:
        super().__init__(operation, code, message)
        self.operation, self.code, self.message, self.fault = operation, code, message, fault

    def __str__(self) -> str:
        return f"AWS {self.operation}: {self.code}: {self.message}"


def meaning(code: str) -> Fault:
    """Of a code in an answer."""
    return _MEANING.get(code, Fault.REFUSED)


def translate(error: BotoCoreError | ClientError, operation: str) -> AwsError:
    """botocore's error as ours; the text carries no credential."""
    if isinstance(error, ClientError):
        told = error.response.get("Error", {})
        code = str(told.get("Code", "Unknown"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        fault = Fault.UNKNOWN if status >= 500 and code not in _MEANING else meaning(code)
        return AwsError(operation, code, str(told.get("Message", "")), fault)
    is_credential = isinstance(error, NoCredentialsError | NoAuthTokenError) or "Credential" in type(error).__name__
    return AwsError(operation, type(error).__name__, str(error), Fault.CREDENTIALS if is_credential else Fault.UNKNOWN)


def as_not_ready(error: AwsError) -> ProviderError:
    """For a node class: what a user must mend makes it unusable, everything else is only not known now."""
    if error.fault is Fault.CREDENTIALS:
        return NodeClassNotReadyError(
            f"AWS refuses the credentials ({error.code}): give the controller valid ones (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role)"
        )
    if error.fault is Fault.DENIED:
        return NodeClassNotReadyError(
            f"the credentials may not call {error.operation} ({error.message}): the policies in docs/aws.md allow it"
        )
    return error
