"""The policy in docs/aws.md allows what the provider calls, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import providers.aws
from providers.aws.tags import CLUSTER, MACHINES

ROOT = Path(__file__).parents[3]
CALL = re.compile(r'"(ec2|iam|sqs|pricing)",\s*"([A-Z][A-Za-z]+)"')
LOOKED_UP = re.compile(r'self\._matching\(\s*"(Describe[A-Za-z]+)"')
IMPLIED = {
    "ec2:RunInstances": "a fleet runs instances",
    "iam:PassRole": "a machine takes a role",
    "iam:TagInstanceProfile": "a profile is made with tags",
}
PERMISSIONS = {"sqs:DeleteMessageBatch": "sqs:DeleteMessage"}
"""Calls whose permission has another name."""


def policy() -> list[dict[str, Any]]:
    text = (ROOT / "docs/aws.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    statements: list[dict[str, Any]] = json.loads(block)["Statement"]
    return statements


def actions(statement: dict[str, Any]) -> set[str]:
    found = statement["Action"]
    return {found} if isinstance(found, str) else set(found)


def called() -> set[str]:
    """Every call that the provider's source can make."""
    source = "".join(
        path.read_text(encoding="utf-8") for path in sorted(Path(providers.aws.__file__).parent.glob("*.py"))
    )
    found = {f"{service}:{action}" for service, action in CALL.findall(source)}
    found |= {f"ec2:{action}" for action in LOOKED_UP.findall(source)}
    return {PERMISSIONS.get(each, each) for each in found}


def test_the_policy_allows_exactly_what_is_called() -> None:
    allowed = set().union(*map(actions, policy()))
    assert allowed == called() | set(IMPLIED)
    assert len(called()) > 15


def test_no_statement_allows_by_pattern() -> None:
    assert not [each for statement in policy() for each in actions(statement) if "*" in each]


def test_what_changes_or_deletes_is_bound_to_the_clusters_tag_or_name() -> None:
    for statement in policy():
        changing = {each for each in actions(statement) if not re.search(r":(Describe|Get|Receive)", each)}
        if not changing or statement["Sid"] == "BuyFromWhatIsThere":
            continue
        shown = json.dumps([statement.get("Condition", {}), statement["Resource"]])
        assert CLUSTER in shown or "demo" in shown or "role/node" in shown, statement["Sid"]


@given(st.integers(0, 60))
def test_the_keys_by_which_machines_are_assigned_are_those_allowed(number: int) -> None:
    (statement,) = (each for each in policy() if each["Sid"] == "SayWhoseAMachineIs")
    pattern = statement["Condition"]["ForAllValues:StringLike"]["aws:TagKeys"]
    assert f"{MACHINES}{number:02}".startswith(pattern.rstrip("*"))
