"""AWS' API from asyncio: boto3 in threads of its own.

boto3 is synchronous, so each call occupies one of a few threads. A caller that is cancelled stops waiting, the call
itself goes on: whoever must know how it ended asks again. Each try has its time-outs, throttling and lost connections
are tried again by botocore (its standard mode: exponential back-off with jitter); only then a call fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import create_loader

from autonodes.core.errors import EnvironmentFault
from providers.aws.faults import translate

Answer = Mapping[str, Any]

_THREADS: Final = 12
"""Calls at a time: EC2 throttles an account long before."""
_CONNECT: Final = 5.0
_READ: Final = 30.0
"""Seconds for one try; CreateFleet of 50 machines takes some."""
_TRIES: Final = 4

_PRICING_REGION: Final = "us-east-1"
"""The price list has endpoints in few regions; this one has the prices of all."""


class Calls:
    """:param region: None for that of the environment (AWS_REGION, the profile)
    :param endpoint: URL that takes the place of all of AWS' own, for tests
    """

    def __init__(self, *, region: str | None, endpoint: str | None = None) -> None:
        self._session = session(region)
        self._endpoint = endpoint
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()  # a session is not thread-safe, its clients are

    @property
    def region(self) -> str:
        """:raises EnvironmentFault: none is set"""
        found = self._session.region_name
        if not found:
            raise EnvironmentFault("no AWS region is set", "give the provider's property region, or set AWS_REGION")
        return str(found)

    def close(self) -> None:
        """Drop what waits for a thread; calls under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def call(self, service: str, operation: str, **arguments: Any) -> Answer:
        """One call: ``call("ec2", "DescribeSubnets", Filters=[…])``.

        :raises AwsError: it failed
        """
        loop = asyncio.get_running_loop()
        answer: Answer = await loop.run_in_executor(self._pool, partial(self._call, service, operation, arguments))
        return answer

    async def pages(self, service: str, operation: str, **arguments: Any) -> AsyncIterator[Answer]:
        """All pages of a list, one after the other.

        :raises AwsError: one of them could not be had; those before are worth nothing then
        """
        token: dict[str, str] = {}
        while True:
            answer = await self.call(service, operation, **arguments, **token)
            yield answer
            following = answer.get("NextToken")
            if not following:
                return
            token = {"NextToken": following}

    async def items(self, service: str, operation: str, key: str, **arguments: Any) -> list[Any]:
        """What the pages of a list have under ``key``, complete.

        :raises AwsError: one of them could not be had
        """
        return [item async for page in self.pages(service, operation, **arguments) for item in page.get(key, ())]

    def _call(self, service: str, operation: str, arguments: Mapping[str, Any]) -> Answer:
        try:
            client = self._client(service)
            method = getattr(client, _snake(operation))
            answer: Answer = method(**arguments)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, operation) from error
        return answer

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    region_name=_PRICING_REGION if service == "pricing" else self.region,
                    endpoint_url=self._endpoint,
                    config=Config(
                        connect_timeout=_CONNECT,
                        read_timeout=_READ,
                        max_pool_connections=_THREADS,
                        retries={"mode": "standard", "total_max_attempts": _TRIES},
                    ),
                )
            return self._clients[service]


_DESCRIPTIONS: Final = create_loader()
"""Of the services' APIs: EC2's takes a quarter of a second to read, so it is read once."""


def session(region: str | None) -> boto3.session.Session:
    """A session of its own on the descriptions that all share."""
    bare = botocore.session.Session()
    bare.register_component("data_loader", _DESCRIPTIONS)
    return boto3.session.Session(botocore_session=bare, region_name=region)


def _snake(operation: str) -> str:
    """``DescribeSubnets`` → ``describe_subnets``"""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
