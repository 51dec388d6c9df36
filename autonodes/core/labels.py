"""Well-known names: labels, annotations, taints, finalizers. One place, so that a typo can't make a second one.

Sources: https://kubernetes.io/docs/reference/labels-annotations-taints/ and Karpenter's ``pkg/apis/v1/labels.go``.
"""

from typing import Final

ARCH: Final = "kubernetes.io/arch"
OS: Final = "kubernetes.io/os"
HOSTNAME: Final = "kubernetes.io/hostname"
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
ZONE: Final = "topology.kubernetes.io/zone"
REGION: Final = "topology.kubernetes.io/region"

NODE_POOL: Final = "karpenter.sh/nodepool"
CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
REGISTERED: Final = "karpenter.sh/registered"
INITIALIZED: Final = "karpenter.sh/initialized"
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
NODE_POOL_HASH: Final = "karpenter.sh/nodepool-hash"
NODE_POOL_HASH_VERSION: Final = "karpenter.sh/nodepool-hash-version"
NODE_CLASS_LABEL_PREFIX: Final = "autonodes.io/"
UNREGISTERED_TAINT: Final = "karpenter.sh/unregistered"
DISRUPTED_TAINT: Final = "karpenter.sh/disrupted"
TERMINATION_FINALIZER: Final = "karpenter.sh/termination"
TERMINATION_TIMESTAMP: Final = "karpenter.sh/nodeclaim-termination-timestamp"

EXPENDABLE: Final = "autonodes.io/expendable"
"""Pod annotation, ``"true"``: the pod waits for a node that others need; it neither buys nor holds one."""
POD_GROUP: Final = "autonodes.io/pod-group"
"""Pod label: the name of its group, all or nothing. On a NodeClaim an annotation: the groups that it was bought for,
``namespace/name``, separated by commas."""
POD_GROUP_MIN_MEMBER: Final = "autonodes.io/pod-group-min-member"
"""Pod label: how many pods of its group must have a node before one is bought for any."""
REQUIRED_TOPOLOGY: Final = "autonodes.io/required-topology"
"""Pod annotation: a node label of which all pods of its group must see one value."""
MAX_HOURLY_COST: Final = "autonodes.io/max-hourly-cost"
"""NodePool annotation: dollars an hour that its nodes may cost together, those on their way included."""
MAX_MONTHLY_COST: Final = "autonodes.io/max-monthly-cost"
"""NodePool annotation: dollars in 730 hours."""
LAUNCH_TIMEOUT: Final = "autonodes.io/launch-timeout"
"""NodePool annotation, a duration: how long a claim may wait for a machine (see `deadlines`)."""
REGISTRATION_TIMEOUT: Final = "autonodes.io/registration-timeout"
"""NodePool annotation, a duration: how long a machine may take to become a Node."""
INITIALIZATION_TIMEOUT: Final = "autonodes.io/initialization-timeout"
"""NodePool annotation, a duration: how long a Node may take until it counts, its devices present."""
PURCHASE_BURST: Final = "autonodes.io/purchase-burst"
"""NodePool annotation: how many nodes it may buy at once (see `purchaserate`)."""
PURCHASES_PER_MINUTE: Final = "autonodes.io/purchases-per-minute"
"""NodePool annotation: how many nodes it may buy a minute when it has bought that many."""
PLANNING_DEADLINE: Final = "autonodes.io/planning-deadline"
"""NodePool annotation, a duration: how long a plan may take to become cheaper than the first answer."""
SURGE: Final = "autonodes.io/surge"
"""Pod annotation, ``"true"``: its Deployment's only pod is not evicted before its successor runs (see `surging`)."""
PRESERVE_UNTIL: Final = "autonodes.io/preserve-until"
"""NodeClaim or Node annotation, a moment: a failed node is kept for debugging until then (see `preservation`)."""
PRESERVING: Final = "autonodes.io/preserving"
"""Node annotation: what was done to it to preserve it, to be taken back."""
REPLACES: Final = "autonodes.io/replaces"
"""NodeClaim annotation: the command that it is a replacement in, as JSON."""
CLAIM_UID: Final = "autonodes.io/claim-uid"

CAPACITY_SPOT: Final = "spot"
CAPACITY_ON_DEMAND: Final = "on-demand"
CAPACITY_RESERVED: Final = "reserved"

WELL_KNOWN: Final = frozenset(
    {ARCH, OS, INSTANCE_TYPE, ZONE, REGION, CAPACITY_TYPE, NODE_POOL, "node.kubernetes.io/windows-build"}
)
"""Labels that a pool may leave undefined: any of the provider's values will do."""

NORMALIZED: Final = {
    "failure-domain.beta.kubernetes.io/zone": ZONE,
    "failure-domain.beta.kubernetes.io/region": REGION,
    "beta.kubernetes.io/arch": ARCH,
    "beta.kubernetes.io/os": OS,
    "beta.kubernetes.io/instance-type": INSTANCE_TYPE,
}
"""Deprecated labels and what stands for them."""

EPHEMERAL_TAINTS: Final = frozenset(
    {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
        UNREGISTERED_TAINT,
    }
)
"""Taints that a starting node carries for a while; they don't keep a pod from being planned onto it."""
