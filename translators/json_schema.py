"""JSON Schema, cut to what each vendor takes.

What a vendor has no keyword for is moved into the node's description, where the model can still read it, and reported:
one loss for each keyword of a schema, with the place of its first use.
Only schema positions are walked; a property may be called `$ref` or `definitions`, and `enum` or `default` hold data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any, Final
from urllib.parse import unquote

from translators.codec import dumps_text, loads_exact
from translators.errors import BadRequest
from translators.losses import Loss, LossAction
from translators.written import keyword_at

REMEMBERED: Final = 512
"""Schemas that are kept as they were cut, for each vendor: clients send the same tools with each request."""
LONGEST_REMEMBERED: Final = 16 * 1024
"""Characters of the longest of them."""
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
class Findings:
    """What was changed in one schema, by keyword."""

    place: str
    found: dict[tuple[str, LossAction, str], list[str]] = field(default_factory=dict)

    def add(self, path: str, keyword: str, action: LossAction, reason: str) -> None:
        """*keyword* of the node at *path* was changed."""
        word = keyword_at(self.place, keyword)
        self.found.setdefault((keyword, action, reason), []).append(f"{path}.{word}" if path else word)

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
    return {
        key: value
        for key, value in schema.items()
        if key not in _BOOKKEEPING and ((fits := _FITS.get(key)) is None or fits(value))
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_LISTS, _is_list),
    **dict.fromkeys(_WORDS, _is_text),
    **dict.fromkeys(_NAMED, _is_object),
    "required": _are_names,
    "type": lambda value: isinstance(value, str) or _are_names(value),
}
"""What a keyword's value has to be."""


def _modern(node: dict[str, Any]) -> dict[str, Any]:
    """*node* with OpenAPI's `nullable` and the tuples of older drafts as JSON Schema says them today."""
    if isinstance(node.get("items"), list):
        node["prefixItems"] = node.pop("items")
        if "additionalItems" in node:
            node["items"] = node.pop("additionalItems")
    if node.pop("nullable", None) is not True:
        return node
    kind, values, variants = node.get("type"), node.get("enum"), node.get("anyOf")
    if isinstance(variants, list):
        node["anyOf"] = [*variants, {"type": "null"}]
    elif isinstance(kind, str | list):
        kinds = [kind] if isinstance(kind, str) else kind
        node["type"] = kinds if "null" in kinds else [*kinds, "null"]
    if isinstance(values, list) and None not in values:
        node["enum"] = [*values, None]
    return node


def _described(node: dict[str, Any], leftover: Mapping[str, Any]) -> dict[str, Any]:
    """*node* with *leftover* keywords told in its description."""
    if not leftover:
        return node
    told = "{" + ", ".join(f"{key}: {dumps_text(value)}" for key, value in leftover.items()) + "}"
    old = node.get("description")
    return {**node, "description": f"{old}\n\n{told}" if old else told}


Cut = Callable[[Mapping[str, Any], str], tuple[dict[str, Any], list[Loss]]]


def _once(cut: Cut) -> Cut:
    """*cut*, done once for equal schemas at equal places. What it gives is shared: it is never to be changed inside."""

    @lru_cache(REMEMBERED)
    def remembered(text: str, place: str) -> tuple[dict[str, Any], list[Loss]]:
        return cut(loads_exact(text), place)

    @wraps(cut)
    def found(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
        text = dumps_text(schema)
        if len(text) > LONGEST_REMEMBERED:
            return cut(schema, place)
        shared, losses = remembered(text, place)
        return {**shared}, [*losses]

    return found


# --- $ref ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Inliner:
    root: Mapping[str, Any]
    findings: Findings
    levels: int = 0
    """How often a schema may be unfolded inside itself."""
    nodes: int = 0

    def node(self, schema: Any, path: str, open_refs: tuple[str, ...], depth: int) -> Any:
        """*schema* without refs; *open_refs* are those that it is part of."""
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
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
            return _modern(siblings)
        return _modern({**self._target(ref, path, open_refs, depth), **siblings})

    def _target(self, ref: str, path: str, open_refs: tuple[str, ...], depth: int) -> dict[str, Any]:
        if open_refs.count(ref) > self.levels:
            after = f" after {self.levels} levels" if self.levels else ""
            self.findings.add(path, "$ref", "emulated", f"a schema cannot contain itself here: any object{after}")
            return {"type": "object"}
        found, target = _resolve(self.root, ref)
        if not found:
            self.findings.add(path, "$ref", "dropped", "points to nothing in this schema")
            return {}
        unfolded = self.node(target, path, (*open_refs, ref), depth + 1)
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


def inlined_refs(schema: Mapping[str, Any], findings: Findings, levels: int = 0) -> dict[str, Any]:
    """Like `inline_refs`, with what was changed in *findings*; a schema is unfolded *levels* times inside itself."""
    inlined = _Inliner(schema, findings, levels).node(dict(schema), "", ("#", "#/"), 0)
    return dict(inlined)


def inline_refs(schema: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """*schema* with every local `$ref` replaced by what it points to, its siblings merged over it.

    A ref to a schema that contains it becomes `{"type": "object"}`; definitions and `$schema` go.

    Raises:
        BadRequest: the refs unfold to more than MAX_NODES nodes or MAX_DEPTH levels.
    """
    return inlined_refs(schema, Findings(place))


# --- Gemini ----------------------------------------------------------------------------------------


@_once
def gemini_tool_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For `parametersJsonSchema`, which takes JSON Schema, but no `$ref` with siblings and objects alone."""
    findings = Findings(place)
    return {**inlined_refs(schema, findings), "type": "object"}, findings.losses()


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


@_once
def gemini_response_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For `responseJsonSchema`: `const` becomes an enum of one, keywords it ignores are told in the description."""
    findings = Findings(place)

    def changed(node: Any, path: str) -> Any:
        if not isinstance(node, dict):
            return node
        kept = all_of_merged(node, path, findings)
        if "const" in kept and _countable(kept["const"]):
            kept.setdefault("enum", [kept.pop("const")])
        if isinstance(items := kept.get("items"), bool):
            del kept["items"]
            if not items and isinstance(kept.get("prefixItems"), list):
                kept.setdefault("maxItems", len(kept["prefixItems"]))
        leftover = {key: kept.pop(key) for key in [*kept] if key not in _RESPONSE_KEYWORDS}
        leftover |= _without_odd_values(kept)
        for keyword in leftover:
            findings.add(path, keyword, "emulated", "Gemini ignores this keyword: told in the description")
        return _described(_with_subschemas(kept, changed, path), leftover)

    inlined = inlined_refs(schema, findings)
    return dict(changed(inlined, "")), findings.losses()


def _countable(value: Any) -> bool:
    """Whether *value* may stand in Gemini's enums, which are for strings and numbers."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _without_odd_values(node: dict[str, Any]) -> dict[str, Any]:
    """Make *node*'s enum one of strings and numbers, a null among them an alternative; give what could not be said."""
    values = node.get("enum")
    if not isinstance(values, list) or all(_countable(value) for value in values):
        return {}
    usual = [value for value in values if _countable(value)]
    if "anyOf" in node or not usual or len(usual) + 1 < len(values) or None not in values:
        return {"enum": node.pop("enum")}
    kind = node.pop("type", None)
    kinds = [name for name in kind if name != "null"] if isinstance(kind, list) else kind
    typed = {"type": kinds[0] if isinstance(kinds, list) and len(kinds) == 1 else kinds} if kinds else {}
    del node["enum"]
    node["anyOf"] = [{**typed, "enum": usual}, {"type": "null"}]
    return {}


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


@_once
def openapi_subset(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For the legacy `parameters`, which takes a subset of OpenAPI 3.0 and refuses every other key."""
    findings = Findings(place)
    walk = _OpenApi(findings)
    return walk.node(inlined_refs(schema, findings), ""), findings.losses()


@dataclass(slots=True)
class _OpenApi:
    findings: Findings

    def node(self, schema: Any, path: str) -> dict[str, Any]:
        """One node and all below it."""
        if not isinstance(schema, dict):
            return {}
        node = all_of_merged(schema, path, self.findings)
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "oneOf" in node:
            node["anyOf"] = [*node.get("anyOf", []), *node.pop("oneOf")]
        leftover: dict[str, Any] = {}
        if "anyOf" in node and ("properties" in node or "items" in node):
            leftover["anyOf"] = node.pop("anyOf")
        if isinstance(variants := node.get("anyOf"), list) and isinstance(node.get("type"), str):
            node["anyOf"] = [_typed_variant(variant, node["type"]) for variant in variants]
            del node["type"]
        self._type(node)
        self._nullable_variant(node)
        self._enum(node, leftover)
        self._array(node, path)
        if node.pop("additionalProperties", False) not in (False, {}):
            self.findings.add(path, "additionalProperties", "dropped", "the OpenAPI subset has no such keyword")
        if node.get("type") is None and "anyOf" not in node:
            self.findings.add(path, "type", "clamped", "the OpenAPI subset needs a type: any scalar is taken")
            node["anyOf"] = [{"type": name} for name in ("string", "number", "boolean")]
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
        return _alone(_described(_with_subschemas(node, self.node, path), leftover))

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
            only = all_of_merged(others[0], "", self.findings)
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
            if "type" not in node and (kind := _type_of(values)) is not None:
                node["type"] = kind

    def _array(self, node: dict[str, Any], path: str) -> None:
        """An array must say what its items are."""
        if node.get("type") != "array":
            return
        items = node.pop("prefixItems", None) or node.get("items")
        if isinstance(items, list):
            self.findings.add(path, "prefixItems", "emulated", "the OpenAPI subset has no tuples: any of the items")
            items = items[0] if len(items) == 1 else {"anyOf": items}
        node["items"] = items if isinstance(items, dict) and items else {"type": "string"}


def _alone(node: dict[str, Any]) -> dict[str, Any]:
    """*node* with what stands beside its `anyOf` moved into each alternative.

    Vertex refuses it otherwise ("When using any_of, it must be the only field set").
    """
    variants = node.get("anyOf")
    beside = {key: value for key, value in node.items() if key != "anyOf"}
    if not isinstance(variants, list) or not beside:
        return node
    return {"anyOf": [{**beside, **variant} for variant in variants]}


def _type_of(values: list[Any]) -> str | None:
    """The JSON type that all *values* share; None when they do not."""
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return "number"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(kinds.pop()) if len(kinds) == 1 else None


def all_of_merged(schema: Mapping[str, Any], path: str, findings: Findings) -> dict[str, Any]:
    """A copy of *schema* with its `allOf` folded into it: properties and required add up, else the first one counts."""
    merged = dict(schema)
    branches = merged.pop("allOf", None)
    if not isinstance(branches, list):
        return merged
    for branch in branches:
        if not isinstance(branch, dict):
            continue
        for key, value in all_of_merged(branch, path, findings).items():
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


# --- OpenAI ----------------------------------------------------------------------------------------

# (platform.openai.com, Structured Outputs, supported schemas; its 400s: "'oneOf' is not permitted", 2026-11)
_STRICT_REFUSES: Final = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
        "unevaluatedItems",
        "prefixItems",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "minLength",
        "maxLength",
        "default",
    }
)
_STRICT_MAX_PROPERTIES: Final = 5000
_STRICT_MAX_DEPTH: Final = 10
_STRICT_MAX_ENUM_VALUES: Final = 1000
_STRICT_MAX_CHARS: Final = 120_000
"""Of the names of properties and definitions and the values of enums together."""


def openai_strict_obstacle(schema: Mapping[str, Any]) -> str | None:
    """Why OpenAI answers *schema* with 400 when it is sent with `strict: true`, and where; None when it takes it.

    Such a schema is sent without `strict`: a schema made to fit would have the model fill in what may be left out.
    """
    text = dumps_text(schema)
    return _strict_obstacle(schema) if len(text) > LONGEST_REMEMBERED else _remembered_obstacle(text)


@lru_cache(REMEMBERED)
def _remembered_obstacle(text: str) -> str | None:
    return _strict_obstacle(loads_exact(text))


def _strict_obstacle(schema: Mapping[str, Any]) -> str | None:
    if schema.get("type") != "object" or "anyOf" in schema:
        return "the root has to be an object"
    walk = _Strict()
    walk.node(schema, "", 0)
    for name in ("$defs", "definitions"):
        for key, definition in schema[name].items() if isinstance(schema.get(name), dict) else ():
            walk.chars += len(key)
            walk.node(definition, f"{name}.{key}", 0)
    return walk.obstacle


@dataclass(slots=True)
class _Strict:
    """A walk that stops at the first obstacle."""

    obstacle: str | None = None
    properties: int = 0
    values: int = 0
    chars: int = 0

    def node(self, schema: Any, path: str, depth: int) -> Any:
        """One node and all below it; *depth* counts the objects around it."""
        if self.obstacle is not None:
            return schema
        depth += isinstance(schema, dict) and schema.get("type") == "object"
        reason = self._reason(schema, depth)
        if reason is not None:
            self.obstacle = f"{path or 'the root'}: {reason}"
        else:
            _with_subschemas(schema, lambda child, child_path: self.node(child, child_path, depth), path)
        return schema

    def _reason(self, schema: Any, depth: int) -> str | None:
        if not isinstance(schema, dict):
            return "a schema that is true or false"
        if refused := sorted(_STRICT_REFUSES.intersection(schema)):
            return f"{refused[0]} is not taken"
        if "$ref" in schema and schema.keys() - {"$ref", "$defs", "definitions"}:
            return "$ref takes no siblings"
        if not str(schema.get("$ref", "#")).startswith("#"):
            return "a $ref leads out of the schema"
        if not {"type", "$ref", "anyOf", "enum", "const"} & schema.keys():
            return "a type is missing"
        properties = schema.get("properties") if isinstance(schema.get("properties"), dict) else {}
        kinds = schema.get("type")
        if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
            if schema.get("additionalProperties") is not False:
                return "additionalProperties has to be false"
            if missing := [name for name in properties or () if name not in (schema.get("required") or ())]:
                return f"{missing[0]!r} has to be required"
        return self._too_large(schema, properties or {}, depth)

    def _too_large(self, schema: Mapping[str, Any], properties: Mapping[str, Any], depth: int) -> str | None:
        values = schema["enum"] if isinstance(schema.get("enum"), list) else []
        self.properties += len(properties)
        self.values += len(values)
        self.chars += sum(map(len, properties)) + sum(len(value) for value in values if isinstance(value, str))
        if depth > _STRICT_MAX_DEPTH:
            return f"more than {_STRICT_MAX_DEPTH} objects in each other"
        if self.properties > _STRICT_MAX_PROPERTIES:
            return f"more than {_STRICT_MAX_PROPERTIES} properties"
        if self.values > _STRICT_MAX_ENUM_VALUES:
            return f"more than {_STRICT_MAX_ENUM_VALUES} enum values"
        if self.chars > _STRICT_MAX_CHARS:
            return f"names and values of more than {_STRICT_MAX_CHARS} characters"
        return None


# --- Anthropic -------------------------------------------------------------------------------------

# (anthropic 2.11 SDK, lib/_parse/_transform.py)
_ANTHROPIC_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_ANY_SCALAR: Final = ("string", "number", "boolean", "null")
_UNFOLDED: Final = 2
"""How many levels of a schema that contains itself Anthropic is told, which takes no circular references."""
_OWNERS: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset(
        {
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
            "unevaluatedProperties",
            "dependentRequired",
            "dependentSchemas",
        }
    ),
    "array": frozenset(
        {
            "items",
            "prefixItems",
            "additionalItems",
            "minItems",
            "maxItems",
            "uniqueItems",
            "contains",
            "unevaluatedItems",
        }
    ),
    "string": frozenset({"format", "pattern", "minLength", "maxLength"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
"""The keywords that say something about values of one type alone."""


@_once
def anthropic_output_schema(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Loss]]:
    """For `output_config.format.schema`: every object closed, `oneOf` as `anyOf`, few keywords.

    `$defs` stay when all refs point there and none to itself ("Circular reference detected in schema definitions",
    Anthropic's own 400); other refs are inlined. A ref with siblings becomes an `anyOf` of one.
    """
    findings = Findings(place)
    defs = schema.get("$defs")
    if all(_points_to_defs(ref, defs) for ref in _refs(schema)) and not _is_circular(defs) and not _has_all_of(schema):
        root = dict(schema)
    else:
        root, defs = inlined_refs(schema, findings, _UNFOLDED), None
    walk = _AnthropicOutput(findings)
    strict = walk.node(root, "")
    if isinstance(defs, dict) and defs:
        strict["$defs"] = {name: walk.node(definition, f"$defs.{name}") for name, definition in defs.items()}
    return strict, findings.losses()


def _is_circular(defs: Any) -> bool:
    """Whether a definition contains itself, by way of others or not."""
    if not isinstance(defs, dict):
        return False
    uses = {name: {ref.rpartition("/")[2] for ref in _refs(definition)} for name, definition in defs.items()}
    for name, used in uses.items():
        reached, waiting = set[str](), list(used)
        while waiting:
            if (other := waiting.pop()) == name:
                return True
            if other not in reached:
                reached.add(other)
                waiting.extend(uses.get(other, ()))
    return False


def _has_all_of(schema: Any) -> bool:
    """Whether anything in *schema* is put together by `allOf`: closed objects cannot be."""
    found = False

    def visit(node: Any, _path: str) -> Any:
        nonlocal found
        if isinstance(node, dict):
            found = found or isinstance(node.get("allOf"), list)
            _with_subschemas(node, visit, "")
            for definition in node["$defs"].values() if isinstance(node.get("$defs"), dict) else ():
                visit(definition, "")
        return node

    visit(schema, "")
    return found


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
    findings: Findings

    def node(self, schema: Any, path: str) -> dict[str, Any]:
        """One node and all below it."""
        if schema is False:
            schema = {"not": {}}
        rest = all_of_merged(_modern(_sane(schema)), path, self.findings) if isinstance(schema, dict) else {}
        strict = self._shape(rest, path)
        for key in ("description", "title"):
            if rest.get(key) is not None:
                strict[key] = rest[key]
            rest.pop(key, None)
        kind = strict.get("type")
        if kind == "object":
            self._object(rest, strict, path)
        elif kind == "array":
            self._array(rest, strict, path)
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
        built = "properties" in rest or "items" in rest
        for key in ("anyOf", "oneOf"):
            # Alternatives that only add to an object's own properties cannot be closed: they are told in words.
            if isinstance(rest.get(key), list) and not built:
                kind = rest.pop("type", None)
                return {"anyOf": [_typed_variant(variant, kind) for variant in rest.pop(key)]}
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
        others = [kind for kind in kinds if kind != "null"]
        variants: list[dict[str, Any]] = []
        for kind in others:
            owned = _OWNERS.get("number" if kind == "integer" else kind, frozenset())
            variants.append({"type": kind, **{key: rest.pop(key) for key in [*rest] if key in owned}})
        return {"anyOf": [*variants, *({"type": kind} for kind in kinds if kind == "null")]}

    def _object(self, rest: dict[str, Any], strict: dict[str, Any], path: str) -> None:
        properties = rest.pop("properties", None)
        strict["properties"] = dict(properties) if isinstance(properties, dict) else {}
        more = rest.pop("additionalProperties", None)
        if more not in (False, None):
            self.findings.add(path, "additionalProperties", "clamped", "Anthropic takes closed objects only")
        elif more is None and properties is None:
            self.findings.add(path, "type", "clamped", "Anthropic takes closed objects only: an empty one")
        strict["additionalProperties"] = False
        if isinstance(required := rest.pop("required", None), list):
            strict["required"] = required

    def _array(self, rest: dict[str, Any], strict: dict[str, Any], path: str) -> None:
        if isinstance(rest.get("items"), dict):
            strict["items"] = rest.pop("items")
        elif rest.get("items") is True:
            del rest["items"]
        if isinstance(rest.get("prefixItems"), list) and rest["prefixItems"]:
            self.findings.add(path, "prefixItems", "emulated", "Anthropic has no tuples: any of the items")
            after = [strict["items"]] if "items" in strict else []
            strict["items"] = {"anyOf": [*rest.pop("prefixItems"), *after]}
            if rest.get("items") is False:
                del rest["items"]
        if rest.get("minItems") in (0, 1):
            strict["minItems"] = rest.pop("minItems")

    def _children(self, strict: dict[str, Any], path: str) -> dict[str, Any]:
        """All subschemas through `node`; a ref stands as it is."""
        return _with_subschemas(
            strict, lambda child, child_path: child if _is_bare_ref(child) else self.node(child, child_path), path
        )


def _typed_variant(variant: Any, kind: Any) -> Any:
    """*variant* of a node of type *kind*, which it has too unless it says otherwise."""
    if kind is None or not isinstance(variant, dict) or {"type", "$ref", "enum", "const", "anyOf"} & variant.keys():
        return variant
    return {"type": kind, **variant}


def _is_bare_ref(schema: Any) -> bool:
    return isinstance(schema, dict) and set(schema) == {"$ref"}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]
