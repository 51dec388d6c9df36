"""Where a cluster lives on this machine, and what is remembered of it.

    HOME/NAME/cluster.json        what was chosen once: ports, addresses, components (`Record`)
              vcluster.yaml       the configuration as it was last brought up
              admin.kubeconfig
              kubeconfigs/ pki/ config/ db/ logs/
              supervisor.json     the processes
              decisions.jsonl     what the controller decided, and why; older ones in decisions.jsonl.1, .2, …
              images.json         archives of the images that nodes hold
              bootstrapped        exists once the cluster holds what the controller needs

HOME is ``$AUTONODES_HOME``, else ``/var/lib/autonodes`` for root and ``~/.local/share/autonodes`` for others. Sockets,
lock and status are in a run directory, which a reboot empties and whose path is short enough for sockets.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from autonodes.cli.settings import Settings
from autonodes.core.errors import ConfigError, EnvironmentFault
from syncer.files import make_private_directory, write_durably

DEFAULT_NAME: Final = "default"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_LONGEST_RUN_DIR: Final = 80
"""Characters: a socket's path may have 107, and its name takes some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was chosen at the first `up` and holds for the cluster's life, and what the last one was told.

    :param uplink: ``100.64.x.y/30``, the link between this machine (first address) and its nodes
    :param components: directories in which the user keeps components, searched before the cache
    :param config_digest: of the ``vcluster.yaml`` that `settings` was made from; "" before it is written
    """

    port: int
    konnectivity_port: int
    uplink: str
    settings: Settings
    components: tuple[str, ...] = ()
    config_digest: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Paths of one cluster; nothing need exist."""

    name: str
    directory: Path
    run_dir: Path

    @property
    def record_file(self) -> Path:
        return self.directory / "cluster.json"

    @property
    def config_file(self) -> Path:
        return self.directory / "vcluster.yaml"

    @property
    def plan_file(self) -> Path:
        return self.directory / "supervisor.json"

    @property
    def images_file(self) -> Path:
        return self.directory / "images.json"

    @property
    def machine_image_file(self) -> Path:
        return self.directory / "machine-image"

    @property
    def bootstrapped_file(self) -> Path:
        return self.directory / "bootstrapped"

    @property
    def decisions_file(self) -> Path:
        return self.directory / "decisions.jsonl"

    @property
    def log_dir(self) -> Path:
        return self.directory / "logs"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.directory / "admin.kubeconfig"

    def exists(self) -> bool:
        """Whether anything of it is on the disk."""
        return self.directory.exists() or self.run_dir.exists()

    def record(self) -> Record | None:
        """None before the first `up` has got that far.

        :raises EnvironmentFault: the file is damaged
        """
        try:
            return _record(json.loads(self.record_file.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise EnvironmentFault(
                f"{self.record_file} is damaged ({error})",
                f"restore it from a backup, or give the cluster up with `autonodes down --name {self.name}`",
            ) from error

    def remember(self, record: Record) -> None:
        make_private_directory(self.directory)
        write_durably(self.record_file, json.dumps(asdict(record), indent=1).encode())

    def make_directories(self) -> None:
        for directory in (self.directory, self.log_dir, self.run_dir):
            make_private_directory(directory)

    def remove(self) -> None:
        """Everything on the disk; safe to repeat."""
        for directory in (self.run_dir, self.directory):
            if directory.exists():
                shutil.rmtree(directory)


def home() -> Path:
    given = os.environ.get("AUTONODES_HOME")
    return Path(given).expanduser().absolute() if given else _default_home()


def cluster(name: str) -> Cluster:
    """:raises ConfigError: not a name for a cluster"""
    if not _NAME.fullmatch(name):
        remedy = (
            "a cluster's name is made of a-z, 0-9 and '-', with a letter or digit at both ends, at most 32 characters"
        )
        raise ConfigError("--name", name, remedy)
    return Cluster(name, home() / name, _run_dir(name))


def existing_cluster(name: str) -> Cluster:
    """:raises EnvironmentFault: there is none of that name"""
    found = cluster(name)
    if found.exists():
        return found
    names = sorted(each.name for each in clusters())
    known = f"there are {', '.join(names)}" if names else "there is none at all"
    raise EnvironmentFault(f"no cluster {name} in {home()}", f"{known}; `autonodes up --name {name}` makes it")


def clusters() -> Iterator[Cluster]:
    """All of this home."""
    root = home()
    for directory in sorted(root.iterdir()) if root.is_dir() else ():
        if _NAME.fullmatch(directory.name) and (directory / "cluster.json").exists():
            yield Cluster(directory.name, directory, _run_dir(directory.name))


def _record(document: Mapping[str, Any]) -> Record:
    settings = document["settings"]
    lists = {name: tuple(settings[name]) for name in ("providers", "hosts")}
    return Record(
        **{**document, "components": tuple(document["components"]), "settings": Settings(**{**settings, **lists})}
    )


def _default_home() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/autonodes")
    return Path("~/.local/share/autonodes").expanduser()


def _run_dir(name: str) -> Path:
    """Clusters of the same name in two homes must not meet, and a socket's path must be short.

    The last resort is a directory of the user's own in /tmp: there only its owner can rename it, and `up` refuses one
    that another user has made.
    """
    own = hashlib.sha256(os.fsencode(home())).hexdigest()[:8]
    suffix = "" if home() == _default_home() else f"-{own}"
    if os.geteuid() == 0:
        return Path("/run/autonodes") / f"{name}{suffix}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    preferred = Path(runtime) / "autonodes" / f"{name}{suffix}" if runtime else home() / name / "run"
    if len(str(preferred)) <= _LONGEST_RUN_DIR:
        return preferred
    return Path("/tmp") / f"autonodes-{os.geteuid()}-{name}-{own}"  # noqa: S108 -- see above
