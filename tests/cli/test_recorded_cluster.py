"""A cluster of simulated nodes, as its planner sees it: recorded, replayed and explained by commands."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, kubectl_path, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SECRET = "not-for-others"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With a node for ``web``, and a pod ``huge`` that nothing can hold."""
    running = Cluster(name="recorded", home=tmp_path_factory.mktemp("home"), kubectl_path=kubectl_path())
    try:
        up = running.autonodes("up", "--name", running.name, "--provider", "kwok")
        assert up.returncode == 0, up.stdout + up.stderr
        running.apply(pod("web", "1"), pod("huge", "5000"))
        wait_for("web runs", lambda: running.get("pod", "web")["status"]["phase"] == "Running", cluster=running)
        yield running
    finally:
        running.autonodes("down", "--name", running.name)


def pod(name: str, cpu: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "x",
        "env": [{"name": "TOKEN", "value": SECRET}],
        "resources": {"requests": {"cpu": cpu}},
    }
    metadata = {"name": name, "namespace": "default", "annotations": {"example.com/note": SECRET}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def test_what_is_recorded_gives_the_same_decisions_again(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    done = cluster.autonodes("record", "--name", cluster.name, "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert SECRET not in path.read_text()
    first, again = (cluster.autonodes("replay", str(path)).stdout for _ in range(2))
    assert first == again
    decisions = [json.loads(line) for line in first.splitlines()]
    (node,) = cluster.nodes()
    assert [(each["decision"], each["who"]) for each in decisions] == [("leave", ["default/huge"]), ("keep", [node])]
    assert decisions[0]["costBefore"] > 0
    told = next(
        event["message"]
        for event in cluster.get("events")["items"]
        if event["reason"] == "FailedScheduling" and event["source"].get("component", "").startswith("autonodes")
    )
    assert decisions[0]["why"] == told


def test_a_controller_decides_byte_for_byte_as_a_replay_of_its_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """One that has just started, so that everything is new to it."""
    path, log = tmp_path / "snapshot.json.gz", cluster.home / cluster.name / "decisions.jsonl"
    (node,) = cluster.nodes()
    bought = json.loads(log.read_text().splitlines()[0])
    assert (bought["decision"], bought["nodeClaim"], bought["who"]) == ("buy", node, ["default/web"])
    assert bought["costBefore"] == 0
    cluster.kubectl("annotate", "node", node, "karpenter.sh/do-not-disrupt=true")  # no reason that changes with time
    done = cluster.autonodes("record", "--name", cluster.name, "-o", str(path))
    assert done.returncode == 0, done.stderr
    seen = len(log.read_text().splitlines())
    processes = json.loads(cluster.autonodes("status", "--name", cluster.name, "-o", "json").stdout)["processes"]
    os.kill(next(each["pid"] for each in processes if each["name"] == "controller"), signal.SIGTERM)
    wait_for("both are decided anew", lambda: len(log.read_text().splitlines()) >= seen + 2, cluster=cluster)
    replayed = cluster.autonodes("replay", str(path)).stdout.splitlines()
    anew = ["{" + line[line.index('"decision":') :] for line in log.read_text().splitlines()[seen:]]
    assert sorted(anew) == sorted(replayed)
    assert cluster.autonodes("replay", str(path), "--against", str(log)).returncode == 0
    cluster.kubectl("annotate", "node", node, "karpenter.sh/do-not-disrupt-")


def test_pods_and_nodes_of_a_running_cluster_are_explained(cluster: Cluster) -> None:
    named = ("--name", cluster.name)
    huge = cluster.autonodes("explain", "pod", "huge", *named)
    assert huge.returncode == 0, huge.stderr
    assert "too small: cpu 5k" in huge.stdout or "too small: cpu 5000" in huge.stdout
    assert "FailedScheduling: " in huge.stdout
    (node,) = cluster.nodes()
    kept = cluster.autonodes("explain", "node", node, *named)
    assert "it is kept: 1 pod on it: default/web" in kept.stdout
    assert "Why it was bought" in kept.stdout
    absent = cluster.autonodes("explain", "pod", "x", *named)
    assert (absent.returncode, absent.stderr) == (1, 'error: pod "x" not found in namespace "default"\n')


def test_a_node_that_went_away_is_explained_by_its_last_words(cluster: Cluster) -> None:
    (node,) = cluster.nodes()
    cluster.kubectl("delete", "pod", "web", "--wait=false")
    wait_for("the node is gone", lambda: cluster.nodes() == [], cluster=cluster)
    gone = cluster.autonodes("explain", "nodeclaim", node, "--name", cluster.name)
    assert gone.returncode == 0, gone.stderr
    assert f"nodeclaim {node}: Gone" in gone.stdout
    assert "DisruptionTerminating: Disrupting NodeClaim: Empty" in gone.stdout
    first, *_, last = gone.stdout.partition("Decisions\n")[2].partition("\n\n")[0].splitlines()
    assert f"buy {node} " in first
    assert f"delete {node}" in last or "delete Empty" in last
    was = cluster.autonodes("explain", "pod", "web", "--name", cluster.name)
    assert f"buy {node} " in was.stdout
