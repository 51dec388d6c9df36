"""Which node pools `up` waits for."""

from __future__ import annotations

from autonodes.api import autonodes
from autonodes.api.vcluster import parse
from autonodes.cli.up import _complete

CONFIG = """
privateNodes:
  autoNodes:
  - {provider: aws, properties: {region: eu-central-1}, dynamic: [{name: cloud}]}
  - {provider: kwok, dynamic: [{name: simulated}]}
"""


def test_a_pool_whose_node_class_the_user_writes_is_not_waited_for() -> None:
    assert _complete(autonodes.objects(parse(CONFIG, source="vcluster.yaml"))) == {"simulated"}
