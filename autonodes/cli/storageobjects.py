"""The volumes among the files: claims, volumes, classes and what nodes can attach, and what a cluster would add to it.

Nobody binds anything here, so what the cluster's controllers would bind at once is bound here: a claim that names its
volume, a volume that names its claim, and a claim for whose class volumes lie ready. What is not among the files though
something refers to it (the StorageClass is mostly the cluster's own) is taken to be there and to be reachable from
every node; that is noted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from autonodes.cli.documents import Document
from autonodes.core.errors import ConfigError
from autonodes.core.model import Pod
from autonodes.core.storage import PodVolume, Storage, StorageClass, Volume, VolumeClaim
from autonodes.kube.storage import decode_claim, decode_csinode, decode_storage_class, decode_volume

_ASSUMED: Final = "(default)"
"""Name of the class that is taken to be the cluster's default; no object can have it."""


class StorageObjects:
    def __init__(self) -> None:
        self._claims: dict[str, VolumeClaim] = {}
        self._made: dict[str, VolumeClaim] = {}
        self._volumes: dict[str, Volume] = {}
        self._reserved: dict[str, str] = {}
        self._classes: dict[str, StorageClass] = {}
        self._limits: dict[str, Mapping[str, int]] = {}

    def readers(self) -> dict[tuple[str, str], Callable[[Document], None]]:
        """By API group and kind."""
        return {
            ("", "PersistentVolumeClaim"): self._claim,
            ("", "PersistentVolume"): self._volume,
            ("storage.k8s.io", "StorageClass"): self._class,
            ("storage.k8s.io", "CSINode"): self._csinode,
        }

    def of_replica(self, stateful_set: Document, pod: Pod) -> Pod:
        """A pod of a StatefulSet with the claims that are made for it.

        :raises ConfigError: they make no sense
        """
        templates = stateful_set.body["spec"].get("volumeClaimTemplates") or []
        if not isinstance(templates, list):
            raise ConfigError("spec.volumeClaimTemplates", templates, "write a list, that is lines that start with -")
        made = [self._of_template(each, pod) for each in templates]
        names = {volume.name for volume in made}
        return replace(pod, volumes=(*(each for each in pod.volumes if each.name not in names), *made))

    def _of_template(self, template: Mapping[str, Any], pod: Pod) -> PodVolume:
        volume = str(template["metadata"]["name"])
        name = f"{volume}-{pod.name}"
        body = {**template, "metadata": {**template["metadata"], "name": name, "namespace": pod.namespace}}
        claim = decode_claim(msgspec.json.encode(body))
        self._made[claim.key] = claim
        return PodVolume(name=volume, claim=name)

    def storage(self, pods: Iterable[Pod], notes: list[str]) -> Storage:
        """All of it, completed.

        :param pods: those that may have volumes
        :param notes: takes what was taken to be there
        """
        claims = {**self._made, **self._claims}
        wanted = [(pod, volume) for pod in pods if not pod.node_name for volume in pod.volumes]
        missing = sorted({f"{pod.namespace}/{each.claim}" for pod, each in wanted if not each.ephemeral} - set(claims))
        for key in missing:
            namespace, _, name = key.partition("/")
            claims[key] = VolumeClaim(namespace=namespace, name=name, storage_class=_ASSUMED)
        _note(notes, "PersistentVolumeClaim", missing)
        self._bind(claims)
        lost = {claim.volume for claim in claims.values() if claim.volume} - set(self._volumes)
        _note(notes, "PersistentVolume", lost)
        volumes = {**self._volumes, **{name: Volume(name=name) for name in lost}}
        asked = [claim.storage_class for claim in claims.values() if not claim.volume]
        asked += [volume.storage_class for _, volume in wanted if volume.ephemeral]
        classes = dict(self._known_classes(asked, notes))
        return Storage(claims=claims, volumes=volumes, classes=classes, attach_limits=self._limits)

    def _bind(self, claims: dict[str, VolumeClaim]) -> None:
        free: dict[str, list[Volume]] = defaultdict(list)
        for volume in sorted(self._volumes.values(), key=lambda each: (each.storage, each.name)):
            if volume.free:
                free[volume.storage_class].append(volume)
        for key, claim in sorted(claims.items()):
            if not claim.volume:
                claims[key] = replace(claim, volume=self._reserved.get(key) or self._ready_for(claim, free))
            if claims[key].volume:
                claims[key] = replace(claims[key], bound=True)

    def _ready_for(self, claim: VolumeClaim, free: Mapping[str, list[Volume]]) -> str:
        """The smallest volume that will do; none where the class lets the scheduler choose."""
        known = self._classes.get(claim.storage_class or "")
        if claim.storage_class is None or (known is not None and not known.immediate):
            return ""
        listed = free.get(claim.storage_class, [])
        found = next((each for each in listed if each.storage >= claim.storage), None)
        if found is None:
            return ""
        listed.remove(found)
        return found.name

    def _known_classes(self, asked: Iterable[str | None], notes: list[str]) -> Iterator[tuple[str, StorageClass]]:
        """Nothing is provisioned before pods are planned, so volumes are made where pods go, whatever their class."""
        named = set(asked)
        has_default = any(each.default for each in self._classes.values())
        missing = {name for name in named if name} - set(self._classes) - {_ASSUMED}
        _note(notes, "StorageClass", missing)
        if None in named and not has_default:
            notes.append("no StorageClass is the default: one is taken to be there that every node can use")
        for name in sorted(missing):
            yield name, StorageClass(name=name, driver="", immediate=False)
        yield _ASSUMED, StorageClass(name=_ASSUMED, driver="", immediate=False, default=not has_default)
        for name, given in self._classes.items():
            if given.immediate and name in named:
                notes.append(f"StorageClass {name} binds at once: its volumes are taken to be made where their pods go")
            yield name, replace(given, immediate=False)

    def _claim(self, document: Document) -> None:
        claim = decode_claim(document.stored())
        self._claims[claim.key] = claim

    def _volume(self, document: Document) -> None:
        volume = decode_volume(document.stored())
        self._volumes[volume.name] = volume
        holder = (document.body.get("spec") or {}).get("claimRef")
        if holder:
            self._reserved[f"{holder.get('namespace') or 'default'}/{holder.get('name')}"] = volume.name

    def _class(self, document: Document) -> None:
        found = decode_storage_class(document.stored())
        self._classes[found.name] = found

    def _csinode(self, document: Document) -> None:
        self._limits[document.name] = decode_csinode(document.stored())


def _note(notes: list[str], kind: str, missing: Iterable[str]) -> None:
    if listed := sorted(missing):
        what = "is not among the objects" if len(listed) == 1 else "are not among the objects"
        notes.append(f"{kind} {', '.join(listed)} {what}: taken to be there for every node")
