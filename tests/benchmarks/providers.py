"""Providers on emulated infrastructure: metal (Redfish), AWS (moto behind a proxy that misbehaves), libvirt (QEMU).

Metal: 500 hosts through a whole cycle. AWS: types and prices listed, 500 machines bought. Libvirt: a claim to its node
Ready beside the bare boot of the same image, with QEMU without KVM; as root.
Options: ``metal``, ``aws`` or ``libvirt`` for one provider; ``--hosts N``, ``--delay SECONDS`` (most that a host takes
to obey, 1); ``--rounds N`` of libvirt (3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Row = Mapping[str, Any]


def run(arguments: list[str]) -> Iterator[Row]:
    """All providers, or those that are named."""
    named = [each for each in arguments if each in _PARTS]
    for name in named or _PARTS:
        yield from _PARTS[name](arguments)


def _metal(arguments: list[str]) -> Iterator[Row]:
    from tests.benchmarks import _metal as metal

    yield from metal.rows(_number(arguments, "--hosts", 500), delay=_number(arguments, "--delay", 1))


def _aws(_: list[str]) -> Iterator[Row]:
    from tests.benchmarks import _aws as aws

    yield from aws.rows()


def _libvirt(arguments: list[str]) -> Iterator[Row]:
    from tests.benchmarks import _libvirt as libvirt

    yield from libvirt.rows(_number(arguments, "--rounds", 3))


def _number(arguments: list[str], option: str, default: int) -> int:
    return int(arguments[arguments.index(option) + 1]) if option in arguments else default


_PARTS: Mapping[str, Callable[[list[str]], Iterator[Row]]] = {"metal": _metal, "aws": _aws, "libvirt": _libvirt}
