"""moto's server, in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree as ET

from botocore.config import Config

from providers.aws.calls import session

REGION: Final = "us-east-1"
ZONES: Final = ("us-east-1a", "us-east-1b", "us-east-1c")
ACCOUNT: Final = "123456789012"
KEY: Final = "AKIAGOODGOODGOODGOOD"
SECRET_KEY: Final = "good/secret/of/the/account"
WRONG_KEY: Final = "AKIAWRONGWRONGWRONGW"


class Moto:
    """The server process. One for many fakes, reset between them."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._types: list[str] = []
        self._clients: dict[str, Any] = {}
        self.busy = threading.Lock()  # it is not safe to be asked for two things at a time
        self._wait()

    def client(self, service: str) -> Any:
        """boto3's, past the proxy."""
        if service not in self._clients:
            self._clients[service] = session(REGION).client(
                service,
                endpoint_url=f"http://127.0.0.1:{self.port}",
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET_KEY,
                config=Config(read_timeout=300),  # it takes seconds to list types, on a busy machine minutes
            )
        return self._clients[service]

    def reset(self) -> None:
        self._request("POST", "/moto-api/reset")

    def instance_types(self) -> list[str]:
        """Each as XML."""
        if not self._types:
            client, answers = self.client("ec2"), []
            client.meta.events.register("before-parse.ec2", lambda response_dict, **_: answers.append(response_dict))
            client.describe_instance_types()
            root = ET.fromstring(answers[0]["body"])  # noqa: S314 -- moto's own
            for node in root.iter():
                node.tag = node.tag.rpartition("}")[2]
            self._types = [ET.tostring(each, encoding="unicode") for each in root.find("instanceTypeSet") or ()]
        return self._types

    def close(self) -> None:
        self._child.kill()
        self._child.wait(timeout=30)

    def _request(self, method: str, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            connection.getresponse().read()

    def _wait(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError):
                return self._request("GET", "/moto-api/")
            time.sleep(0.05)
        raise AssertionError("moto does not come up")


@contextlib.contextmanager
def moto_server() -> Iterator[Moto]:
    moto = Moto()
    try:
        yield moto
    finally:
        moto.close()
