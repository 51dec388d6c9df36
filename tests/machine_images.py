"""The image that virtual machines boot from, as `autonodes up` makes it and keeps it in the cache."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from autonodes.components import default_cache, locate
from joiner import images
from joiner.machineimage import distribution_kernel, machine_image
from providers.local.images import ImageStore
from providers.local.provider import BINARIES


@functools.cache
def node_image() -> Path:
    """Its directory. Made in half a minute if the cache has not got it; the test fails without components."""
    found, missing = locate(None)
    if missing:
        raise AssertionError(f"no {', '.join(map(str, missing))}: `autonodes components --fetch` gets them")
    cache = default_cache(os.environ)
    paths = {name: binary.path for name, binary in found.items()}
    versions = {binary.component: binary.version for binary in found.values()}
    archives = images.make_images(paths, versions, cache / "images")
    binaries = {name: paths[name] for name in BINARIES}
    store = ImageStore(
        cache / "machine-images/containerd",
        archives=archives,
        binaries={name: str(path) for name, path in binaries.items()},
    )
    kernel = distribution_kernel(cache / "machine-images/kernels")
    return machine_image(binaries, archives, kernel, cache / "machine-images/images", unpack=store.unpacked).directory
