"""From a pydantic model to a structural OpenAPI v3 schema, as a CRD carries it.

Kubernetes takes a subset of JSON Schema (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
custom-resource-definitions/#specifying-a-structural-schema): no references, no ``null`` type, no
``additionalProperties`` beside ``properties``. So references are written out, optional fields are simply not required,
and defaults that only say "nothing" are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_DROPPED: Final = frozenset({"title", "$defs"})
_ROOT_TYPES: Final = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
_ROOT_DESCRIPTIONS: Final = {
    "apiVersion": "Group and version of this kind's schema.",
    "kind": "The kind of object.",
}


def structural_schema(model: type[BaseModel]) -> Schema:
    """Of any model. The same input always gives the same output."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(whole, whole.get("$defs", {}))


def root_schema(model: type[BaseModel]) -> Schema:
    """Of a custom resource: ``apiVersion``, ``kind`` and ``metadata`` are left to the API server."""
    schema = structural_schema(model)
    for name, plain in _ROOT_TYPES.items():
        described = {"description": _ROOT_DESCRIPTIONS[name]} if name in _ROOT_DESCRIPTIONS else {}
        schema["properties"][name] = described | plain
    return schema


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    node = _resolved(node, definitions)
    schema = {key: value for key, value in node.items() if key not in _DROPPED and not _says_nothing(key, value)}
    if "properties" in schema:
        schema.pop("additionalProperties", None)
        schema["properties"] = {name: _structural(child, definitions) for name, child in node["properties"].items()}
    if "anyOf" in schema:
        schema["anyOf"] = [_structural(option, definitions) for option in schema["anyOf"]]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            schema[key] = _structural(schema[key], definitions)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(schema["description"].replace("``", "").split())
    return schema


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """With its reference and its ``or null`` written out; what stands beside them wins."""
    while True:
        beside = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
        if "$ref" in node:
            node = {**definitions[node["$ref"].rpartition("/")[2]], **beside}
        elif {"type": "null"} in node.get("anyOf", ()):
            (only,) = (option for option in node["anyOf"] if option != {"type": "null"})
            node = {**only, **beside}
        else:
            return node


def _says_nothing(key: str, value: object) -> bool:
    return key == "default" and (value is None or value in ("", [], {}))
