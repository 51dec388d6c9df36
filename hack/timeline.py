"""Applies a manifest with one Deployment, watches what comes of it, and prints when: seconds since its first pod.

Usage: hack/timeline.py MANIFEST [--name CLUSTER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, utils
from rich.console import Console
from rich.live import Live
from rich.table import Table

DEADLINE_S = 180.0
POLL_S = 0.1
BIN = Path(__file__).parent.parent / ".venv" / "bin"


@dataclass
class PodStory:
    """When a pod was first seen in each state, in seconds since the first pod was created."""

    name: str
    node: str = ""
    moments: dict[str, float] = field(default_factory=dict)

    def saw(self, state: str, at: float) -> None:
        self.moments.setdefault(state, at)


STATES = ("pending", "claim", "machine", "Ready", "Running")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("--name", default="")
    options = arguments.parse_args()
    named = ["--name", options.name] if options.name else []
    kubeconfig = subprocess.run(
        [BIN / "autonodes", "kubeconfig", "--path", *named], check=True, capture_output=True, text=True
    ).stdout.strip()
    config.load_kube_config(kubeconfig)
    console = Console()
    _look({}, {}, time.monotonic())  # loads what the client imports late: that is no part of the story
    documents = list(yaml.safe_load_all(options.manifest.read_text()))
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    console.print(f"\n==> kubectl apply -f {options.manifest}")
    utils.create_from_yaml(client.ApiClient(), yaml_objects=documents, apply=True)
    stories = _watch(deployment, time.monotonic(), console)
    if stories is None:
        console.print(f"error: not all pods of {deployment['metadata']['name']} run after {DEADLINE_S:.0f} s;")
        console.print("see: kubectl describe pods, kubectl get nodeclaims, autonodes status")
        return 1
    _what_next(console, kubeconfig, deployment["metadata"]["name"])
    return 0


def _watch(deployment: dict[str, Any], start: float, console: Console) -> dict[str, PodStory] | None:
    stories: dict[str, PodStory] = {}
    wanted = deployment["spec"]["replicas"]
    with Live(console=console, refresh_per_second=5) as live:
        while time.monotonic() - start < DEADLINE_S:
            _look(stories, deployment["spec"]["selector"]["matchLabels"], start)
            live.update(_table(stories))
            if sum("Running" in story.moments for story in stories.values()) >= wanted:
                return stories
            time.sleep(POLL_S)
    return None


def _look(stories: dict[str, PodStory], selector: dict[str, str], start: float) -> None:
    claims = client.CustomObjectsApi().list_cluster_custom_object("karpenter.sh", "v1", "nodeclaims")["items"]
    core = client.CoreV1Api()
    nodes = {node.metadata.name: node for node in core.list_node().items}
    pods = core.list_namespaced_pod(
        "default", label_selector=",".join(f"{key}={value}" for key, value in selector.items())
    ).items
    at = time.monotonic() - start
    launched = [claim for claim in claims if claim.get("status", {}).get("providerID")]
    for pod in pods:
        if pod.metadata.deletion_timestamp:
            continue
        story = stories.setdefault(pod.metadata.name, PodStory(pod.metadata.name))
        story.saw("pending", at)
        story.node = pod.spec.node_name or ""
        if claims:
            story.saw("claim", at)
        if launched:
            story.saw("machine", at)
        if story.node in nodes and _ready(nodes[story.node]):
            story.saw("Ready", at)
        if pod.status.phase == "Running" and all(status.ready for status in pod.status.container_statuses or []):
            story.saw("Running", at)


def _ready(node: Any) -> bool:
    return any(item.type == "Ready" and item.status == "True" for item in node.status.conditions or [])


def _table(stories: dict[str, PodStory]) -> Table:
    table = Table(title="seconds since the pods were created", title_justify="left", box=None, padding=(0, 1))
    table.add_column("pod", no_wrap=True)
    table.add_column("node", no_wrap=True)
    for state in STATES:
        table.add_column(state, justify="right")
    for story in stories.values():
        moments = [f"{story.moments[state]:.1f}" if state in story.moments else "…" for state in STATES]
        table.add_row(story.name, story.node, *moments)
    return table


def _what_next(console: Console, kubeconfig: str, name: str) -> None:
    console.print(f"\nThe cluster is running. Its kubeconfig: {kubeconfig}\n", highlight=False, soft_wrap=True)
    console.print("Try next:")
    for command in (
        f"export KUBECONFIG={kubeconfig} PATH={BIN}:$PATH",
        "kubectl get nodes,nodeclaims,pods -o wide",
        f"kubectl logs deployment/{name}",
        f"kubectl scale deployment {name} --replicas=6     # more nodes come",
        f"kubectl scale deployment {name} --replicas=0     # the nodes go",
        "autonodes status",
        "make down                                        # nothing is left",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
