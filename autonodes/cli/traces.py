"""Traces of pods as CSV, with a header: one row a pod, all of them waiting at the same time.

Columns, as those of Alibaba's OpenB trace: ``name``, ``cpu_milli``, ``memory_mib``, ``num_gpu``, and if there are any
``gpu_milli`` and ``gpu_spec``; all others are passed over. A device plug-in deals in whole GPUs, so a pod that asks for
a thousandth of one gets one. ``gpu_spec`` lists the models that will do, ``V100M16|V100M32``; the number after M is the
memory, and only the model counts.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from autonodes.cli.documents import File
from autonodes.core.errors import AutonodesError, ConfigError, InvalidDocumentError
from autonodes.core.model import Pod, PodUID
from autonodes.core.requirements import Requirement, Requirements

GPU: Final = "nvidia.com/gpu"
GPU_NAME: Final = "karpenter.k8s.aws/instance-gpu-name"
NAMESPACE: Final = "trace"
_NEEDED: Final = ("name", "cpu_milli", "memory_mib")
_MIB: Final = 2**20
_MODEL: Final = re.compile(r"(?P<model>[A-Za-z]+[0-9]+)(M[0-9]+)?")


@dataclass
class Trace:
    """:param workloads: pod → what it is drawn as: pods of a trace belong to nobody, so they are told apart by GPUs"""

    pods: list[Pod] = field(default_factory=list)
    workloads: dict[PodUID, str] = field(default_factory=dict)
    faults: list[AutonodesError] = field(default_factory=list)


def is_trace(file: File) -> bool:
    return file.source.removesuffix(".gz").endswith(".csv") or file.content.lstrip().startswith(b"name,cpu_milli")


def read_trace(file: File) -> Trace:
    """A row that can't be read is reported and left out."""
    trace = Trace()
    try:
        rows = csv.DictReader(io.StringIO(file.content.decode("utf-8-sig")))
        missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    except (UnicodeDecodeError, csv.Error) as error:
        trace.faults.append(ConfigError(file.source, None, f"is no CSV: {error}"))
        return trace
    if missing:
        remedy = f"a trace has the columns {', '.join(_NEEDED)}, and perhaps num_gpu, gpu_milli and gpu_spec"
        trace.faults.append(ConfigError(f"{file.source}: header", ",".join(rows.fieldnames or ()), remedy))
        return trace
    terms: dict[str, tuple[Requirements, ...]] = {}
    for row in rows:
        try:
            pod = _pod(row, rows.line_num, terms)
        except ConfigError as error:
            trace.faults.append(InvalidDocumentError(f"{file.source}, line {rows.line_num}", [error]))
            continue
        trace.pods.append(pod)
        trace.workloads[pod.uid] = _workload(pod)
    return trace


def _pod(row: Mapping[str, str | None], line: int, terms: dict[str, tuple[Requirements, ...]]) -> Pod:
    name = row["name"] or ""
    if not name:
        raise ConfigError("name", name, "each pod has a name")
    requests = {
        "cpu": _number(row, "cpu_milli"),
        "memory": _number(row, "memory_mib") * _MIB,
        GPU: max(_number(row, "num_gpu"), 1 if _number(row, "gpu_milli") else 0),
        "pods": 1,
    }
    spec = row.get("gpu_spec") or ""
    if spec not in terms:
        terms[spec] = (_models(spec),)
    return Pod(
        uid=PodUID(f"{line}/{name}"),
        namespace=NAMESPACE,
        name=name,
        requests={resource: amount for resource, amount in requests.items() if amount},
        required_terms=terms[spec],
        unschedulable=True,
    )


def _number(row: Mapping[str, str | None], column: str) -> int:
    value = row.get(column)
    if not value:
        return 0
    try:
        number = float(value)
        if number >= 0 and number == int(number):
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(column, value, "write a whole number, 0 or more")


def _models(spec: str) -> Requirements:
    if not spec:
        return Requirements()
    found = [_MODEL.fullmatch(each) for each in spec.split("|")]
    if not all(found):
        raise ConfigError("gpu_spec", spec, "write models with '|' between them, such as T4 or V100M16|V100M32")
    names = {each["model"].lower() for each in found if each}
    return Requirements([Requirement.of(GPU_NAME, "In", sorted(names))])


def _workload(pod: Pod) -> str:
    gpus = pod.requests.get(GPU, 0)
    return f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "no GPU"
