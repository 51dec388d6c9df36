"""Notices from the account's event queue: EventBridge sends them to SQS, which is asked every few seconds.

Four kinds of events count: the two-minute warning of a spot machine, the recommendation to rebalance one, a scheduled
change of AWS Health, and a machine that stops or ends. A message is acknowledged when its machine is gone, and not
before: until then SQS gives it again after its visibility timeout, to this process or to its successor. What is not
about a machine of this cluster, or can't be read, is acknowledged too, once it is old enough for the list of machines
to be up to date.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from autonodes.core.clock import Clock
from autonodes.provider import Interruption, ProviderID
from providers.aws.calls import Calls

log = logging.getLogger(__name__)

_AT_ONCE: Final = 10
"""Messages in an answer, by SQS' rule."""
_ROUNDS: Final = 20
"""Answers that are taken in one look."""
_SETTLED: Final = 300.0
"""Seconds after which a machine that is not listed is none of this cluster's."""
_WARNING: Final = 120.0
"""Seconds between a spot machine's warning and its end."""
_GOING: Final = frozenset({"stopping", "stopped", "shutting-down", "terminated"})

Kind = Literal["spot", "maintenance", "host-failure"]


@dataclass(frozen=True, slots=True)
class Notice:
    """:param at: when the machine stops, seconds since the epoch"""

    instance_id: str
    kind: Kind
    at: float | None
    message: str


@dataclass(slots=True)
class _Message:
    receipt: str
    sent_at: float
    notices: tuple[Notice, ...] = field(default=())


class Notices:
    """:param queue: name of the SQS queue
    :param rebalance: whether a recommendation counts
    """

    def __init__(self, calls: Calls, clock: Clock, *, queue: str, rebalance: bool) -> None:
        self._calls, self._clock, self._queue, self._rebalance = calls, clock, queue, rebalance
        self._url = ""
        self._messages: dict[str, _Message] = {}

    @property
    def is_quiet(self) -> bool:
        """Nothing has come that is not dealt with."""
        return not self._messages

    async def receive(self) -> None:
        """Take what has come.

        :raises AwsError: the queue can't be asked
        """
        url = await self._queue_url()
        for _ in range(_ROUNDS):
            answer = await self._calls.call(
                *("sqs", "ReceiveMessage"),
                QueueUrl=url,
                MaxNumberOfMessages=_AT_ONCE,
                WaitTimeSeconds=0,
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            messages = answer.get("Messages", ())
            for each in messages:
                self._keep(each)
            if len(messages) < _AT_ONCE:
                return

    async def in_force(self, present: Mapping[str, ProviderID]) -> list[Interruption]:
        """What is known of the machines that there are; messages of others are acknowledged.

        :param present: instance id → provider id of all machines of the cluster
        """
        await self._acknowledge({id_ for id_, each in self._messages.items() if self._is_done(each, present)})
        found = {
            (notice.instance_id, notice.kind): Interruption(
                provider_id=present[notice.instance_id], kind=notice.kind, at=notice.at, message=notice.message
            )
            for each in self._messages.values()
            for notice in each.notices
            if notice.instance_id in present
        }
        return [found[key] for key in sorted(found)]

    def _keep(self, message: Mapping[str, Any]) -> None:
        sent_at = float(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000 or self._clock.now()
        known = self._messages.setdefault(message["MessageId"], _Message(message["ReceiptHandle"], sent_at))
        known.receipt = message["ReceiptHandle"]
        try:
            event = json.loads(message["Body"])
            known.notices = tuple(each for each in notices(event) if self._rebalance or not _is_rebalance(event))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("a message of queue %s can't be read and is dropped: %r", self._queue, error)

    def _is_done(self, message: _Message, present: Mapping[str, ProviderID]) -> bool:
        if any(notice.instance_id in present for notice in message.notices):
            return False
        return not message.notices or self._clock.now() >= message.sent_at + _SETTLED

    async def _acknowledge(self, done: Collection[str]) -> None:
        ids = sorted(done)
        batches = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
        url = await self._queue_url() if batches else ""
        entries = [
            [{"Id": str(index), "ReceiptHandle": self._messages[id_].receipt} for index, id_ in enumerate(batch)]
            for batch in batches
        ]
        await asyncio.gather(
            *(self._calls.call("sqs", "DeleteMessageBatch", QueueUrl=url, Entries=each) for each in entries)
        )
        for id_ in ids:
            self._messages.pop(id_, None)

    async def _queue_url(self) -> str:
        if not self._url:
            self._url = (await self._calls.call("sqs", "GetQueueUrl", QueueName=self._queue))["QueueUrl"]
        return self._url


def notices(event: Mapping[str, Any]) -> Iterator[Notice]:
    """What an EventBridge event says of machines; nothing, if it is of no kind that counts."""
    kind, detail = event.get("detail-type", ""), event.get("detail", {})
    at = datetime.fromisoformat(event["time"]).timestamp() if "time" in event else None
    if kind == "EC2 Spot Instance Interruption Warning":
        end = None if at is None else at + _WARNING
        yield Notice(detail["instance-id"], "spot", end, "EC2 takes the spot machine back in two minutes")
    elif _is_rebalance(event):
        yield Notice(detail["instance-id"], "spot", None, "EC2 expects to take the spot machine back: rebalance")
    elif kind == "EC2 Instance State-change Notification" and detail.get("state") in _GOING:
        yield Notice(detail["instance-id"], "host-failure", at, f"the machine is {detail['state']}, says EC2")
    elif kind == "AWS Health Event" and detail.get("eventTypeCategory") == "scheduledChange":
        start = _health_time(detail["startTime"]) if "startTime" in detail else None
        for entity in detail.get("affectedEntities", ()):
            yield Notice(entity["entityValue"], "maintenance", start, f"{detail['eventTypeCode']}, says AWS Health")


def _health_time(text: str) -> float:
    """``Fri, 27 Nov 2026 06:00:00 GMT``"""
    return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).timestamp()


def _is_rebalance(event: Mapping[str, Any]) -> bool:
    return event.get("detail-type") == "EC2 Instance Rebalance Recommendation"
