"""JSON Schema, cut to what each vendor takes.

What a vendor has no keyword for is moved into the node's description, where the model can still read it, and reported:
one loss for each keyword of a schema, with the place of its first use.
Only schema positions are walked; a property may be called `$ref` or `definitions`, and `enum` or `default` hold data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from translators.codec import dumps_text
from translators.errors import BadRequest
from translators.losses import Loss, LossAction

MAX_NODES: Final = 20_000
"""Refs that unfold to more nodes than this are refused: they can double at each step."""
MAX_DEPTH: Final = 100
"""Nesting after unfolding."""

_ONE: Final = frozenset(
    {
        "items",
        "additionalProperties",
        "additionalItems",
        "unevaluatedItems",
        "unevaluatedProperties",
        "propertyNames",
        "contains",
        "not",
        "if",
        "then",
        "else",
    }
)
_MANY: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "required", "enum"})
_WORDS: Final = frozenset({"format", "description", "title", "pattern", "$ref"})
_BOOKKEEPING: Final = frozenset(
    {"$schema", "$id", "$defs", "definitions", "$anchor", "$comment", "$vocabulary", "$dynamicAnchor"}
)


@dataclass(slots=True)
class _Findings:
    """What was changed in one schema, by keyword."""

    place: str
    found: dict[tuple[str, LossAction, str], list[str]] = field(default_factory=dict)

    def add(self, path: str, keyword: str, action: LossAction, reason: str) -> None:
        self.found.setdefault((keyword, action, reason), []).append(f"{path}.{keyword}" if path else keyword)

    def losses(self) -> list[Loss]:
        """One loss for each keyword."""
        return [
            Loss(
                ".".join(part for part in (self.place, paths[0]) if part),
                action,
                reason if len(paths) == 1 else f"{reason} ({len(paths)} places)",
            )
            for (_, action, reason), paths in self.found.items()
        ]


def _with_subschemas(schema: Mapping[str, Any], change: Callable[[Any, str], Any], path: str) -> dict[str, Any]:
    """A copy of *schema* in which every direct subschema went through *change*, with its path."""
    at = f"{path}." if path else ""
    copy: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _MANY and isinstance(value, list):
            copy[key] = [change(child, f"{at}{key}[{position}]") for position, child in enumerate(value)]
        elif key in _ONE and isinstance(value, dict):
            copy[key] = change(value, f"{at}{key}")
        elif key in _NAMED and isinstance(value, dict):
            copy[key] = {name: change(child, f"{at}{key}.{name}") for name, child in value.items()}
        else:
            copy[key] = value
    return copy


def _sane(schema: Mapping[str, Any]) -> dict[str, Any]:
    """*schema* without bookkeeping and without keywords whose value is of a type that they cannot have."""

    def fits(key: str, value: Any) -> bool:
        if key in _LISTS:
            return isinstance(value, list) and (key != "required" or all(isinstance(name, str) for name in value))
        if key in _WORDS:
            return isinstance(value, str)
        if key in _NAMED:
            return isinstance(value, dict)
        if key == "type":
            return isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))
        return key not in _BOOKKEEPING

    return {key: value for key, value in schema.items() if fits(key, value)}


def _described(node: dict[str, Any], leftover: Mapping[str, Any]) -> dict[str, Any]:
    """*node* with *leftover* keywords told in its description."""
    if not leftover:
        return node
    told = "{" + ", ".join(f"{key}: {dumps_text(value)}" for key, value in leftover.items()) + "}"
    old = node.get("description")
    return {**node, "description": f"{old}\n\n{told}" if old else told}


# --- $ref ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Inliner:
    root: Mapping[str, Any]
    findings: _Findings
    nodes: int = 0

    def node(self, schema: Any, path: str, open_refs: frozenset[str], depth: int) -> Any:
        """*schema* without refs; *open_refs* are those that it is part of."""
        if not isinstance(schema, dict):
            return schema
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            place = self.findings.place or "schema"
            raise BadRequest(
                f"{place}: its $refs unfold to more than {MAX_NODES} nodes or {MAX_DEPTH} levels",
                self.findings.place or None,
                "schema_too_large",
            )
        ref = schema.get("$ref")
        kept = _sane(schema)
        kept.pop("$ref", None)
        siblings = _with_subschemas(
            kept, lambda child, child_path: self.node(child, child_path, open_refs, depth + 1), path
        )
        if not isinstance(ref, str):
            return siblings
        return {**self._target(ref, path, open_refs, depth), **siblings}

    def _target(self, ref: str, path: str, open_refs: frozenset[str], depth: int) -> dict[str, Any]:
        if ref in open_refs:
            self.findings.add(path, "$ref", "emulated", "a schema cannot contain itself here: any object is taken")
            return {"type": "object"}
        found, target = _resolve(self.root, ref)
        if not found:
            self.findings.add(path, "$ref", "dropped", "points to nothing in this schema")
            return {}
        unfolded = self.node(target, path, open_refs | {ref}, depth + 1)
        return unfolded if isinstance(unfolded, dict) else {}


def _resolve(root: Mapping[str, Any], ref: str) -> tuple[bool, Any]:
    """(whether, what) the JSON pointer *ref* (`#/$defs/Pet`) points to."""
    if not ref.startswith("#") or (len(ref) > 1 and ref[1] != "/"):
        return False, None
    found: Any = root
    for token in unquote(ref[1:]).split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return False, None
    return True, found


def _inlined(schema: Mapping[str, Any], findings: _Findings) -> dict[str, Any]:
    inlined = _Inliner(schema, findings).node(dict(schema), "", frozenset({"#", "#/"}), 0)
    return dict(inlined)


def inline_refs(schema: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """*schema* with every local `$ref` replaced by what it points to, its siblings merged over it.

    A ref to a schema that contains it becomes `{"type": "object"}`; definitions and `$schema` go.

    Raises:
        BadRequest: the refs unfold to more than MAX_NODES nodes or MAX_DEPTH levels.
    """
    return _inlined(schema, _Findings(place))


# --- Gemini ----------------------------------------------------------------------------------------


def gemini_tool_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For `parametersJsonSchema`, which takes JSON Schema, but no `$ref` with siblings and objects alone."""
    findings = _Findings(place)
    inlined = _inlined(schema, findings)
    return {"type": "object", **inlined}, findings.losses()


# What responseJsonSchema understands; the rest is accepted and ignored. (google-genai types, response_json_schema)
_RESPONSE_KEYWORDS: Final = frozenset(
    {
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "oneOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    }
)


def gemini_response_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For `responseJsonSchema`: `const` becomes an enum of one, keywords it ignores are told in the description."""
    findings = _Findings(place)

    def changed(node: Any, path: str) -> Any:
        if not isinstance(node, dict):
            return node
        kept = _all_of_merged(node, path, findings)
        if isinstance(kept.get("const"), str | int | float) and not isinstance(kept["const"], bool):
            kept.setdefault("enum", [kept.pop("const")])
        leftover = {key: kept.pop(key) for key in [*kept] if key not in _RESPONSE_KEYWORDS}
        for keyword in leftover:
            findings.add(path, keyword, "emulated", "Gemini ignores this keyword: told in the description")
        return _described(_with_subschemas(kept, changed, path), leftover)

    inlined = _inlined(schema, findings)
    return dict(changed(inlined, "")), findings.losses()


# The fields of Gemini's Schema message. (google-genai types, Schema)
_OPENAPI_KEYWORDS: Final = frozenset(
    {
        "anyOf",
        "default",
        "description",
        "enum",
        "example",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    }
)
_OPENAPI_FORMATS: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"enum", "date-time"}),
    "number": frozenset({"float", "double"}),
    "integer": frozenset({"int32", "int64"}),
}


def openapi_subset(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For the legacy `parameters`, which takes a subset of OpenAPI 3.0 and refuses every other key."""
    findings = _Findings(place)
    walk = _OpenApi(findings)
    return walk.node(_inlined(schema, findings), ""), findings.losses()


@dataclass(slots=True)
class _OpenApi:
    findings: _Findings

    def node(self, schema: Any, path: str) -> dict[str, Any]:
        """One node and all below it."""
        if not isinstance(schema, dict):
            return {}
        node = _all_of_merged(schema, path, self.findings)
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "oneOf" in node:
            node["anyOf"] = [*node.get("anyOf", []), *node.pop("oneOf")]
        leftover: dict[str, Any] = {}
        self._type(node)
        self._nullable_variant(node)
        self._enum(node, leftover)
        self._array(node, path)
        if node.pop("additionalProperties", False) not in (False, {}):
            self.findings.add(path, "additionalProperties", "dropped", "the OpenAPI subset has no such keyword")
        kind = node.get("type")
        if "format" in node and node["format"] not in _OPENAPI_FORMATS.get(str(kind), frozenset()):
            leftover["format"] = node.pop("format")
        leftover |= {key: node.pop(key) for key in [*node] if key not in _OPENAPI_KEYWORDS}
        for keyword in leftover:
            self.findings.add(
                path, keyword, "emulated", "the OpenAPI subset has no such keyword: told in the description"
            )
        if "required" in node:
            node["required"] = [name for name in node["required"] if name in node.get("properties", {})]
            if not node["required"]:
                del node["required"]
        return _described(_with_subschemas(node, self.node, path), leftover)

    def _type(self, node: dict[str, Any]) -> None:
        """`[T, null]` to nullable, several types to anyOf, a missing type guessed from its keywords."""
        kind = node.get("type")
        if isinstance(kind, list):
            types = [name for name in kind if name != "null"]
            if len(types) < len(kind):
                node["nullable"] = True
            if len(types) == 1:
                node["type"] = types[0]
            else:
                del node["type"]
                node.setdefault("anyOf", [{"type": name} for name in types])
        elif kind is None and "properties" in node:
            node["type"] = "object"
        elif kind is None and ("items" in node or "prefixItems" in node):
            node["type"] = "array"
        elif kind is None and node.get("enum") and all(isinstance(value, str | None) for value in node["enum"]):
            node["type"] = "string"

    def _nullable_variant(self, node: dict[str, Any]) -> None:
        """`anyOf: [T, null]` to T with nullable."""
        variants = node.get("anyOf")
        if not isinstance(variants, list):
            return
        others = [variant for variant in variants if not (isinstance(variant, dict) and variant.get("type") == "null")]
        if len(others) < len(variants):
            node["nullable"] = True
        if len(others) == 1 and isinstance(others[0], dict):
            del node["anyOf"]
            only = _all_of_merged(others[0], "", self.findings)
            node.update({key: value for key, value in only.items() if key not in node})
            if "const" in node:
                node["enum"] = [node.pop("const")]
            self._type(node)
        else:
            node["anyOf"] = others

    def _enum(self, node: dict[str, Any], leftover: dict[str, Any]) -> None:
        """Enums are for strings; a null among the values is `nullable`."""
        values = node.get("enum")
        if not isinstance(values, list):
            return
        if None in values:
            node["nullable"] = True
            values = [value for value in values if value is not None]
        if node.get("type", "string") == "string" and all(isinstance(value, str) for value in values):
            node["type"] = "string"
            node["enum"] = values
        else:
            leftover["enum"] = node.pop("enum")
            if "type" not in node:
                node["type"] = _type_of(values)

    def _array(self, node: dict[str, Any], path: str) -> None:
        """An array must say what its items are."""
        if node.get("type") != "array":
            return
        items = node.pop("prefixItems", None) or node.get("items")
        if isinstance(items, list):
            self.findings.add(path, "prefixItems", "emulated", "the OpenAPI subset has no tuples: any of the items")
            items = items[0] if len(items) == 1 else {"anyOf": items}
        node["items"] = items if isinstance(items, dict) and items else {"type": "string"}


def _type_of(values: list[Any]) -> str:
    """The JSON type that all *values* share, else string."""
    if values and all(isinstance(value, bool) for value in values):
        return "boolean"
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return "integer"
    if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return "number"
    return "string"


def _all_of_merged(schema: Mapping[str, Any], path: str, findings: _Findings) -> dict[str, Any]:
    """A copy of *schema* with its `allOf` folded into it: properties and required add up, else the first one counts."""
    merged = dict(schema)
    branches = merged.pop("allOf", None)
    if not isinstance(branches, list):
        return merged
    for branch in branches:
        if not isinstance(branch, dict):
            continue
        for key, value in _all_of_merged(branch, path, findings).items():
            old = merged.get(key)
            if old is None:
                merged[key] = value
            elif isinstance(old, dict) and isinstance(value, dict):
                merged[key] = {**value, **old}
            elif key == "required" and isinstance(old, list) and isinstance(value, list):
                merged[key] = [*old, *(name for name in value if name not in old)]
            elif old != value and key not in ("description", "title"):
                findings.add(path, "allOf", "clamped", f"branches that disagree on {key}: the first one counts")
    return merged


# --- Anthropic -------------------------------------------------------------------------------------

# (anthropic 2.11 SDK, lib/_parse/_transform.py)
_ANTHROPIC_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_ANY_SCALAR: Final = ("string", "number", "boolean", "null")


def anthropic_output_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For `output_config.format.schema`: every object closed, `oneOf` as `anyOf`, few keywords.

    `$defs` stay when all refs point there; other refs are inlined. A ref with siblings becomes an `anyOf` of one.
    """
    findings = _Findings(place)
    defs = schema.get("$defs")
    if all(_points_to_defs(ref, defs) for ref in _refs(schema)):
        root = dict(schema)
    else:
        root, defs = _inlined(schema, findings), None
    walk = _AnthropicOutput(findings)
    strict = walk.node(root, "")
    if isinstance(defs, dict) and defs:
        strict["$defs"] = {name: walk.node(definition, f"$defs.{name}") for name, definition in defs.items()}
    return strict, findings.losses()


def _refs(schema: Any) -> list[str]:
    """Every `$ref` in *schema*, its definitions included."""
    refs: list[str] = []

    def visit(node: Any, _path: str) -> Any:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                refs.append(node["$ref"])
            _with_subschemas(node, visit, "")
            for key in ("$defs", "definitions"):
                for definition in node[key].values() if isinstance(node.get(key), dict) else ():
                    visit(definition, "")
        return node

    visit(schema, "")
    return refs


def _points_to_defs(ref: str, defs: Any) -> bool:
    prefix, _, name = ref.rpartition("/")
    return prefix == "#/$defs" and isinstance(defs, dict) and name in defs


@dataclass(slots=True)
class _AnthropicOutput:
    findings: _Findings

    def node(self, schema: Any, path: str) -> dict[str, Any]:
        """One node and all below it."""
        rest = _sane(schema) if isinstance(schema, dict) else {}
        strict = self._shape(rest, path)
        for key in ("description", "title"):
            if rest.get(key) is not None:
                strict[key] = rest[key]
            rest.pop(key, None)
        kind = strict.get("type")
        if kind == "object":
            self._object(rest, strict, path)
        elif kind == "array":
            self._array(rest, strict)
        elif kind == "string" and rest.get("format") in _ANTHROPIC_FORMATS:
            strict["format"] = rest.pop("format")
        for keyword in rest:
            self.findings.add(path, keyword, "emulated", "Anthropic has no such keyword: told in the description")
        return self._children(_described(strict, rest), path)

    def _shape(self, rest: dict[str, Any], path: str) -> dict[str, Any]:
        """The keywords that say what kind of value it is, taken out of *rest*."""
        if isinstance(ref := rest.pop("$ref", None), str):
            return {"anyOf": [{"$ref": ref}]} if rest else {"$ref": ref}
        literals: dict[str, Any] = {
            key: rest.pop(key)
            for key in ("enum", "const")
            if key in rest and all(_is_scalar(value) for value in _listed(rest[key]))
        }
        if literals:
            rest.pop("type", None)
            return literals
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(rest.get(key), list):
                rest.pop("type", None)
                return {"allOf" if key == "allOf" else "anyOf": rest.pop(key)}
        kind = rest.pop("type", None)
        if isinstance(kind, list):
            return self._several_types(kind, rest)
        if isinstance(kind, str):
            return {"type": kind}
        if "properties" in rest:
            return {"type": "object"}
        if "items" in rest:
            return {"type": "array"}
        self.findings.add(path, "type", "clamped", "Anthropic needs a type: any scalar is taken")
        return {"anyOf": [{"type": name} for name in _ANY_SCALAR]}

    @staticmethod
    def _several_types(kinds: list[str], rest: dict[str, Any]) -> dict[str, Any]:
        """`type: [T, null]` as anyOf; T's keywords go with it."""
        own = {key: rest.pop(key) for key in [*rest] if key not in ("description", "title", "default")}
        others = [kind for kind in kinds if kind != "null"]
        variants = [{"type": kind, **(own if kind == others[0] else {})} for kind in others]
        return {"anyOf": [*variants, *({"type": kind} for kind in kinds if kind == "null")]}

    def _object(self, rest: dict[str, Any], strict: dict[str, Any], path: str) -> None:
        properties = rest.pop("properties", None)
        strict["properties"] = dict(properties) if isinstance(properties, dict) else {}
        if rest.pop("additionalProperties", False) is not False:
            self.findings.add(path, "additionalProperties", "clamped", "Anthropic takes closed objects only")
        strict["additionalProperties"] = False
        if isinstance(required := rest.pop("required", None), list):
            strict["required"] = required

    @staticmethod
    def _array(rest: dict[str, Any], strict: dict[str, Any]) -> None:
        if isinstance(rest.get("items"), dict):
            strict["items"] = rest.pop("items")
        if rest.get("minItems") in (0, 1):
            strict["minItems"] = rest.pop("minItems")

    def _children(self, strict: dict[str, Any], path: str) -> dict[str, Any]:
        """All subschemas through `node`; a ref stands as it is."""
        return _with_subschemas(
            strict, lambda child, child_path: child if _is_bare_ref(child) else self.node(child, child_path), path
        )


def _is_bare_ref(schema: Any) -> bool:
    return isinstance(schema, dict) and set(schema) == {"$ref"}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]
