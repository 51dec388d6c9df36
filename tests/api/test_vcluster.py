"""vcluster.yaml: what is accepted, what is refused and in which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autonodes.api import autonodes
from autonodes.api.nodepool import NodePool
from autonodes.api.validation import validate
from autonodes.api.vcluster import VClusterConfig, load, parse, with_provider
from autonodes.core.errors import ConfigError, EnvironmentFault
from autonodes.core.labels import ZONE
from autonodes.core.money import COST

FULL = """
controlPlane:
  standalone: {enabled: true, joinNode: {enabled: false}}
  backingStore: {database: {embedded: {enabled: true}}}
  proxy: {bindAddress: 0.0.0.0, port: 7443, extraSANs: [api.example.com, 192.0.2.1]}
  endpoint: api.example.com
networking: {serviceCIDR: 10.96.0.0/12, podCIDR: 10.244.0.0/16, advanced: {clusterDomain: cluster.local}}
privateNodes:
  enabled: true
  autoNodes:
  - provider: local
    properties: {zones: "a, b", memory: 8Gi}
    dynamic:
    - name: small
      nodeTypeSelector:
      - {property: instance-type, values: [small, medium]}
      - {property: node.kubernetes.io/instance-type, operator: NotIn, values: [large]}
      taints: [{key: dedicated, value: x, effect: NoSchedule}]
      nodeLabels: {team: a}
      limits: {cpu: "100", memory: 500Gi, nodes: "20"}
      weight: 10
      disruption: {consolidateAfter: 1m, consolidationPolicy: WhenEmpty, budgets: [{nodes: "1"}]}
      expireAfter: Never
      terminationGracePeriod: 1h
  - provider: kwok
    dynamic: [{name: simulated}]
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        autonodes.objects(parse(text, source="vcluster.yaml"))
    return str(raised.value)


def pool_with(fields: str) -> str:
    return f"privateNodes: {{autoNodes: [{{provider: local, dynamic: [{{name: a, {fields}}}]}}]}}"


ZONAL = "{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}"
SOFT = ZONAL.replace("DoNotSchedule", "ScheduleAnyway")


def spread_with(fields: str) -> str:
    return f"controlPlane: {{distro: {{k8s: {{scheduler: {{podTopologySpread: {{{fields}}}}}}}}}}}"


def test_a_full_file_becomes_its_pools_and_node_classes() -> None:
    documents = {(each["kind"], each["metadata"]["name"]): each for each in autonodes.objects(parse(FULL, source="f"))}
    assert list(documents) == [
        ("LocalNodeClass", "local"),
        ("NodePool", "small"),
        ("KwokNodeClass", "kwok"),
        ("NodePool", "simulated"),
    ]
    assert documents["LocalNodeClass", "local"]["spec"] == {"zones": ["a", "b"]}
    pool = validate(NodePool, documents["NodePool", "small"], source="small").to_model()
    assert pool.node_class == ("autonodes.io", "LocalNodeClass", "local")
    assert (pool.weight, pool.limits["nodes"], pool.limits["cpu"]) == (10, 20, 100_000)
    assert (pool.consolidate_after, pool.expire_after, pool.termination_grace_period) == (60.0, None, 3600.0)
    assert pool.consolidation_policy == "WhenEmpty"
    assert [(taint.key, taint.value, taint.effect) for taint in pool.taints] == [("dedicated", "x", "NoSchedule")]
    assert pool.labels["team"] == "a"


def test_a_node_class_that_names_things_of_an_account_is_left_to_the_user() -> None:
    (pool,) = autonodes.objects(with_provider("aws"))
    reference = pool["spec"]["template"]["spec"]["nodeClassRef"]
    assert reference == {"group": "autonodes.io", "kind": "AWSNodeClass", "name": "aws"}


def test_what_is_left_open_is_left_to_the_nodepool() -> None:
    documents = {each["kind"]: each for each in autonodes.objects(with_provider("local"))}
    pool = documents["NodePool"]
    assert pool["metadata"]["name"] == "default"
    assert "limits" not in pool["spec"]
    assert validate(NodePool, pool, source="default").to_model().expire_after == 2592000.0


def test_every_object_says_where_it_comes_from() -> None:
    for document in autonodes.objects(parse(FULL, source="f")):
        assert document["metadata"]["labels"] == autonodes.ORIGIN


def test_other_properties_go_to_the_provider() -> None:
    local, _ = parse(FULL, source="f").private_nodes.auto_nodes
    assert autonodes.options(local) == {"memory": "8Gi"}


def test_an_empty_file_is_a_configuration() -> None:
    assert parse("", source="f") == VClusterConfig()


def test_what_was_written_survives_a_round_trip() -> None:
    config = parse(FULL, source="f")
    assert parse(config.dump(), source="f") == config
    assert parse(VClusterConfig().dump(), source="f") == VClusterConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("privateNode: {}", ["privateNode", "privateNodes"]),
        ("controlPlane: {proxy: {prot: 1}}", ["controlPlane.proxy.prot", '"port"']),
        ("controlPlane: {backingStore: {etcd: {}}}", ["controlPlane.backingStore.etcd", "database"]),
        ("controlPlane: {standalone: {enabled: false}}", ["controlPlane.standalone.enabled", "True"]),
        ('controlPlane: {proxy: {port: "443"}}', ["controlPlane.proxy.port", "without quotes"]),
        ("controlPlane: {proxy: {port: 70000}}", ["controlPlane.proxy.port", "70000", "65535"]),
        ("controlPlane: {proxy: {bindAddress: localhost}}", ["controlPlane.proxy.bindAddress", "IP address"]),
        ("controlPlane: {endpoint: 'https://x'}", ["controlPlane.endpoint", "without a port"]),
        ("networking: {podCIDR: 10.244.0.1/16}", ["networking.podCIDR", "host bits set"]),
        ("networking: {podCIDR: 'fd00::/48'}", ["networking.podCIDR", "IPv4"]),
        ("networking: {podCIDR: 10.244.0.0/24}", ["networking.podCIDR", "too small"]),
        ("networking: {podCIDR: 10.100.0.0/16}", ["networking.podCIDR", "overlaps serviceCIDR"]),
        ("networking: {podCidr: 10.100.0.0/16}", ["networking.podCidr", "podCIDR"]),
        ("privateNodes: {autoNodes: {}}", ["privateNodes.autoNodes", "write a list"]),
        ("privateNodes: {autoNodes: [{provider: locla}]}", ["privateNodes.autoNodes[0].provider", "mean local"]),
        (
            "privateNodes: {autoNodes: [{provider: local}, {provider: local}]}",
            ["privateNodes.autoNodes[1].provider", "there already"],
        ),
        (
            "privateNodes: {autoNodes: [{provider: local, dynamic: [{name: a}, {name: a}]}]}",
            ["privateNodes.autoNodes[0].dynamic[1].name", "another pool"],
        ),
        (pool_with("weight: 101"), ["dynamic[0].weight", "101", "100"]),
        (pool_with("limit: {}"), ["dynamic[0].limit", '"limits"']),
        (pool_with("limits: {cpu: much}"), ["dynamic[0].limits.cpu", "'much'"]),
        (pool_with("expireAfter: 30d"), ["dynamic[0].expireAfter", "720h"]),
        ("privateNodes: {metricsPort: 0}", ["privateNodes.metricsPort", "0", "1"]),
        ("privateNodes: {preferencePolicy: Obey}", ["privateNodes.preferencePolicy", "Obey", "Ignore"]),
        ("privateNodes: {minValuesPolicy: best}", ["privateNodes.minValuesPolicy", "best", "BestEffort"]),
        (spread_with("defaultingType: Even"), ["podTopologySpread.defaultingType", "Even", "List"]),
        (spread_with(f"defaultConstraints: [{ZONAL}]"), ["podTopologySpread.defaultingType", "write List"]),
        (
            spread_with(f"defaultingType: List, defaultConstraints: [{ZONAL}, {ZONAL}]"),
            ["podTopologySpread.defaultConstraints", "two have DoNotSchedule for topology.kubernetes.io/zone"],
        ),
        (
            spread_with(f"defaultingType: List, defaultConstraints: [{ZONAL.replace('1', '0')}]"),
            ["defaultConstraints[0].maxSkew", "0", "1"],
        ),
        (
            spread_with(f"defaultingType: List, defaultConstraints: [{ZONAL[:-1]}, labelSelector: {{}}}}]"),
            ["defaultConstraints[0].labelSelector", "unknown key"],
        ),
        (
            spread_with(f"defaultingType: List, defaultConstraints: [{SOFT[:-1]}, minDomains: 2}}]"),
            ["defaultConstraints[0].minDomains", "DoNotSchedule only"],
        ),
        (pool_with("maxHourlyCost: -1"), ["dynamic[0].maxHourlyCost", "-1", "0"]),
        ("privateNodes: {maxMonthlyCost: $100}", ["privateNodes.maxMonthlyCost", "$100", "number"]),
        (pool_with("nodeLabels: {karpenter.sh/nodepool: x}"), ["nodeLabels[karpenter.sh/nodepool]"]),
        (pool_with("nodeTypeSelector: [{property: zone}]"), ["nodeTypeSelector[0].values", "at least one"]),
        (pool_with("nodeTypeSelector: [{property: zoen, values: [a]}]"), ["[0].property", "did you mean zone?"]),
        (
            pool_with("nodeTypeSelector: [{property: zone, operator: is, values: [a]}]"),
            ["nodeTypeSelector[0].operator", "DoesNotExist"],
        ),
        (pool_with("disruption: {consolidateAfter: soon}"), ["disruption.consolidateAfter", "30s"]),
        ("a: [", ["vcluster.yaml, line 1", "not YAML"]),
        ("networking: {}\nnetworking: {}", ["line 2", "networking is there twice"]),
        ("- a", ["(document)", "mapping"]),
    ],
)
def test_what_is_wrong_is_told_with_its_path_and_a_remedy(text: str, words: list[str]) -> None:
    message = refusal(text)
    for word in words:
        assert word in message, message


def test_everything_that_is_wrong_is_told_at_once() -> None:
    message = refusal("networkin: {}\ncontrolPlane: {proxy: {port: 0}}")
    assert "networkin" in message
    assert "controlPlane.proxy.port" in message


def test_a_metrics_port_that_is_given_elsewhere_becomes_part_of_the_configuration() -> None:
    config = parse(FULL, source="f").with_metrics_port(9090)
    assert config.private_nodes.metrics_port == 9090
    assert parse(config.dump(), source="f") == config


def test_default_constraints_reach_the_scheduler_and_the_planner_alike() -> None:
    constraint = f"{ZONAL[:-1]}, minDomains: 2, nodeAffinityPolicy: Ignore, nodeTaintsPolicy: Honor}}"
    config = parse(spread_with(f"defaultingType: List, defaultConstraints: [{constraint}]"), source="vcluster.yaml")
    scheduler = config.control_plane.distro.k8s.scheduler
    assert json.loads(scheduler.arguments) == {
        "defaultingType": "List",
        "defaultConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": ZONE,
                "whenUnsatisfiable": "DoNotSchedule",
                "minDomains": 2,
                "nodeAffinityPolicy": "Ignore",
                "nodeTaintsPolicy": "Honor",
            }
        ],
    }
    (spread,) = scheduler.pod_topology_spread.to_model()
    assert (spread.key, spread.max_skew, spread.min_domains, spread.hard) == (ZONE, 1, 2, True)
    assert (spread.honor_affinity, spread.honor_taints) == (False, True)


def test_nothing_said_leaves_the_scheduler_its_own_defaults_and_an_empty_list_takes_them() -> None:
    assert VClusterConfig().control_plane.distro.k8s.scheduler.arguments == ""
    none = parse(spread_with("defaultingType: List"), source="vcluster.yaml").control_plane.distro.k8s.scheduler
    assert json.loads(none.arguments) == {"defaultingType": "List", "defaultConstraints": []}
    assert none.pod_topology_spread.to_model() == ()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"nowhere\.yaml can't be read"):
        load(tmp_path / "nowhere.yaml")


def test_money_limits_reach_the_pool_and_the_planner() -> None:
    config = parse("privateNodes: {maxMonthlyCost: 7300, maxHourlyCost: 20}", source="vcluster.yaml")
    assert config.limits() == {COST: 10_000_000}
    config = parse(pool_with("maxHourlyCost: 2.5"), source="vcluster.yaml")
    assert autonodes.objects(config)[-1]["metadata"]["annotations"] == {"autonodes.io/max-hourly-cost": "2.5"}
    assert config.limits() == {}
