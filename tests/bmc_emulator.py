"""sushy-emulator with its fake driver: ``bmc_emulator.py PORT SYSTEMS DIRECTORY DELAY``.

The driver lets a power command take effect 1 to 11 s later; DELAY is the most that it takes here.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import uuid
from types import SimpleNamespace

_NAMESPACE = uuid.UUID("6c1d7c52-5a52-4d51-9c4e-3a8e5b1f2d00")


def system_uuid(index: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, str(index)))


if __name__ == "__main__":
    from sushy_tools.emulator import main
    from sushy_tools.emulator.resources.systems import fakedriver
    from werkzeug.serving import make_server

    port, count, directory, delay = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    tempfile.tempdir = directory  # where it keeps what it has fetched, and its state
    fakedriver.random = SimpleNamespace(randint=lambda first, last: random.randint(0, min(delay, last)))  # noqa: S311
    systems = [
        {"uuid": system_uuid(index), "name": f"system-{index}", "power_state": "Off", "nics": []}
        for index in range(count)
    ]
    main.app.config.update(
        SUSHY_EMULATOR_FAKE_DRIVER=True, SUSHY_EMULATOR_FAKE_SYSTEMS=systems, SUSHY_EMULATOR_STATE_DIR=directory
    )
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    make_server("127.0.0.1", port, main.app, threaded=True).serve_forever()
