"""AWS' protocols, as the fake speaks them: requests read, answers and refusals written, all else passed on to moto."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from ec2fake import Ec2Fake

NAMESPACE: Final = "http://ec2.amazonaws.com/doc/2016-11-15"


@dataclass(frozen=True)
class Call:
    """One request: ``Call("ec2", "CreateFleet", {...})``."""

    service: str
    action: str
    parameters: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    message: str


def edited(body: bytes, of: str, keep: Callable[[ET.Element], bool]) -> bytes:
    """An answer with the items of a set edited, and without those that are not kept."""
    root = ET.fromstring(body)  # noqa: S314 -- moto's own
    ET.register_namespace("", NAMESPACE)
    for items in root.iter(f"{{{NAMESPACE}}}{of}"):
        for item in list(items):
            if not keep(item):
                items.remove(item)
    return ET.tostring(root)


def text_of(item: ET.Element, name: str) -> str:
    return item.findtext(f"{{{NAMESPACE}}}{name}") or ""


def xml(action: str, content: str) -> bytes:
    return f'<{action}Response xmlns="{NAMESPACE}"><requestId>r</requestId>{content}</{action}Response>'.encode()


def nested(parameters: Mapping[str, str]) -> dict[str, Any]:
    """``A.1.B=x`` → ``{"A": [{"B": "x"}]}``"""
    root: dict[str, Any] = {}
    for key, value in parameters.items():
        here = root
        *path, last = key.split(".")
        for segment in path:
            here = here.setdefault(segment, {})
        here[last] = value

    def listed(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if node and all(key.isdecimal() for key in node):
            return [listed(node[key]) for key in sorted(node, key=int)]
        return {key: listed(each) for key, each in node.items()}

    plain: dict[str, Any] = listed(root)
    return plain


_SCOPE: Final = re.compile(r"Credential=(?P<key>[^/]+)/[^/]+/[^/]+/(?P<service>[^/]+)/")


def handler(fake: Ec2Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if fake.is_down:
                self._hang_up()
                return
            scope = _SCOPE.search(self.headers.get("Authorization", ""))
            service, key = (scope["service"], scope["key"]) if scope else ("", "")
            target = self.headers.get("X-Amz-Target", "")
            if target:
                action, parameters = target.rpartition(".")[2], {"json": body.decode()}
            else:
                parameters = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
                action = parameters.get("Action", "")
            with fake.lock:
                fake.calls.append(Call(service, action, parameters))
            answer = fake.answer(service, action, parameters, key)
            if isinstance(answer, Refusal):
                self._refuse(service, answer)
                return
            status, headers, content = (
                (200, {}, answer) if answer is not None else self._ask_moto(action, parameters, body)
            )
            if action in fake.lost:
                fake.lost.discard(action)
                self._hang_up()
                return
            self._send(status, headers.get("Content-Type", "text/xml"), fake.show(action, content))

        def _ask_moto(
            self, action: str, parameters: dict[str, str], body: bytes
        ) -> tuple[int, Mapping[str, str], bytes]:
            if action == "DescribeInstances" and fake.page and "MaxResults" in parameters:
                body = urllib.parse.urlencode(parameters | {"MaxResults": str(fake.page)}).encode()
            connection = http.client.HTTPConnection("127.0.0.1", fake.moto.port, timeout=60)
            with contextlib.closing(connection), fake.moto.busy:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                return response.status, dict(response.headers), response.read()

        def _refuse(self, service: str, refusal: Refusal) -> None:
            if service in ("sqs", "pricing"):
                content = json.dumps({"__type": refusal.code, "message": refusal.message}).encode()
            elif service == "ec2":
                inside = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
                content = f"<Response><Errors>{inside}</Errors><RequestID>r</RequestID></Response>".encode()
            else:
                inside = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
                content = f"<ErrorResponse>{inside}<RequestId>r</RequestId></ErrorResponse>".encode()
            self._send(refusal.status, "text/xml", content)

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
