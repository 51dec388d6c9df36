"""What the nodes that are there cost, by the catalogue's prices."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autonodes.core.catalog import Catalog, build_catalog
from autonodes.core.labels import CAPACITY_TYPE, INSTANCE_TYPE, NODE_POOL, ZONE
from autonodes.core.model import Claim, Snapshot
from autonodes.core.targets import claim_rows, pair


def hourly_costs(snapshot: Snapshot) -> dict[str, float]:
    """Name of each node and each claim in flight → dollars an hour, as far as the price is known.

    A node costs what its type, zone and capacity type cost now; a claim that has not been launched the cheapest that it
    may become.
    """
    catalog = build_catalog(snapshot)
    prices = _prices(catalog)
    claims = pair(snapshot)
    costs = {
        node.name: prices.get(_place({**_labels(claims.get(node.name)), **node.labels}), math.inf)
        for node in snapshot.nodes
    }
    behind = {claim.uid for claim in claims.values()}
    for claim in snapshot.claims:
        if claim.uid not in behind:
            costs[claim.name] = _in_flight(claim, catalog, prices)
    return {name: cost for name, cost in costs.items() if cost < math.inf}


def _prices(catalog: Catalog) -> dict[tuple[str, str, str, str], float]:
    return {
        (row.pool.name, row.type.name, row.offering.zone, row.offering.capacity_type): row.price for row in catalog.rows
    }


def _labels(claim: Claim | None) -> Mapping[str, str]:
    return {} if claim is None else {NODE_POOL: claim.pool, **claim.requirements.labels(), **claim.labels}


def _place(labels: Mapping[str, str]) -> tuple[str, str, str, str]:
    pool, kind, zone, capacity_type = (labels.get(key, "") for key in (NODE_POOL, INSTANCE_TYPE, ZONE, CAPACITY_TYPE))
    return pool, kind, zone, capacity_type


def _in_flight(claim: Claim, catalog: Catalog, prices: Mapping[tuple[str, str, str, str], float]) -> float:
    known = prices.get(_place(_labels(claim)))
    if known is not None:
        return known
    rows = claim_rows(claim, catalog)
    return catalog.cheapest(rows).price if rows else math.inf
