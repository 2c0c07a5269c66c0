"""The document, put together from the table of routes and the descriptions; made once, when it is asked for first."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from proxy.envelopes import dialect_of
from proxy.late import Late
from proxy.openapi.administration import ADMINISTRATION
from proxy.openapi.dialects import DIALECTS
from proxy.openapi.operation import ANY_OBJECT, Media, Operation, Operations, Parameter, Schema, ok
from proxy.routes import ROUTES
from proxy.server import Access, Route
from proxy.version import version
from translators.codec import dumps

OPERATIONS: Final[Operations] = {**DIALECTS, **ADMINISTRATION}
REF: Final = "#/components/schemas/{model}"

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_ROLES: Final[Mapping[Access, str]] = {
    "open": "Needs no key.",
    "member": "Needs any key where `auth.required` is on.",
    "client": "Needs a key of the role developer, operator or admin where `auth.required` is on.",
    "viewer": "Needs a key of any role where somebody has one; it is told what it may see.",
    "operator": "Needs a key of the role operator or admin of no organisation, where somebody has one.",
    "manager": "Needs a key of the role admin; it sees and changes its own organisation or team.",
    "admin": "Needs a key of the role admin of no organisation.",
    "master": "Needs the master key.",
}
_SCHEMES: Final[Mapping[str, Mapping[str, str]]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A virtual key (`mp-…`) or the master key."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "As Anthropic's SDK sends it."},
    "x-goog-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-goog-api-key",
        "description": "As Google's SDK sends it.",
    },
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "As Azure's SDK sends it."},
}
_TAGS: Final[Mapping[str, str]] = {
    "OpenAI": "The dialects of OpenAI. Bodies and answers are the vendor's; fields that are not described pass.",
    "Anthropic": "The dialect of Anthropic.",
    "Gemini": "The dialect of Google's Gemini.",
    "Queries": "One call with an id: waited for, streamed, or asked for later.",
    "Providers": "Who answers.",
    "State": "Whether everything is well.",
    "Money": "What was asked and what it cost.",
    "Keys": "Virtual keys, teams and organisations.",
    "Credentials": "Keys of providers, stored encrypted.",
    "Audit": "Who changed what.",
    "Models": "What is known of models.",
    "Cache": "Answers kept for equal requests.",
    "Logs": "Bodies of requests, where they are kept.",
}
_ENVELOPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "openai_chat": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer", "null"]},
                },
            },
            "request_id": {"type": "string"},
        },
    },
    "anthropic": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            },
            "request_id": {"type": ["string", "null"]},
        },
    },
    "gemini": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "status"],
                "properties": {
                    "code": {"type": "integer"},
                    "message": {"type": "string"},
                    "status": {"type": "string"},
                    "details": {"type": "array", "items": {"type": "object"}},
                },
            }
        },
    },
}
_ENVELOPE_NAMES: Final[Mapping[str, str]] = {
    "openai_chat": "OpenAIError",
    "anthropic": "AnthropicError",
    "gemini": "GeminiError",
}

_WISHES: Final[Mapping[str, str]] = {
    "x-modelport-route": "A route by its name, instead of `model`.",
    "x-modelport-policy": "A policy in the place of the route's.",
    "x-modelport-cache": "`no-cache`: a fresh answer; `no-store`: one that is not kept.",
    "x-modelport-resume": "Whether a stream that breaks off is gone on with elsewhere: true or false.",
    "x-modelport-quality": "How much quality counts beside cost for the policy auto: 0 (cost) to 1 (quality).",
    "x-modelport-losses": "What happens when a target cannot express a field: warn, reject or ignore.",
    "x-modelport-tags": "Tags for the ledger, such as `team=search,feature=summary`.",
    "x-modelport-timeout-s": "Seconds for all attempts together.",
    "idempotency-key": "The same key and the same request give one and the same answer.",
}
_TOLD: Final[Mapping[str, str]] = {
    "x-request-id": "The exchange's id in the ledger.",
    "x-modelport-target": "`provider/model` that answered.",
    "x-modelport-route": "The route that was taken.",
    "x-modelport-attempts": "How often a provider was asked.",
    "x-modelport-cache": "hit, miss or bypass.",
    "x-modelport-cost-usd": "What it cost, as a decimal string; not there while it is unknown.",
    "x-modelport-losses": "`field=reason` pairs, percent-encoded; not there when nothing was lost.",
}


@cache
def rendered() -> bytes:
    """The document as JSON."""
    return dumps(document())


def document() -> dict[str, Any]:
    """The document."""
    schemas = _Schemas(OPERATIONS)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        for path, method, operation in described(route):
            paths.setdefault(path, {})[method] = _operation(route, path, method, operation, schemas)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "modelport",
            "version": version(),
            "summary": "One local port for every model.",
            "description": "The dialects of OpenAI, Anthropic and Gemini in front of every provider, and what is"
            " needed to run it. Every answer carries `x-request-id`, which is the exchange's id in the ledger.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, **{_ENVELOPE_NAMES[name]: each for name, each in _ENVELOPES.items()}},
            "parameters": {
                name: {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
                for name, text in _WISHES.items()
            },
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _TOLD.items()},
            "securitySchemes": _SCHEMES,
        },
    }


def described(route: Route) -> Iterator[tuple[str, str, Operation]]:
    """The operations of a row: path, method in small letters, description.

    A row without a description, which a test does not let happen, has its handler's docstring and no schemas.
    """
    bare = Operation("Other", ok(ANY_OBJECT), path=route.path.replace("{}", "{rest}"))
    for operation in OPERATIONS.get((route.method, route.path), (bare,)):
        for method in operation.methods or (route.method,):
            yield operation.path or route.path, method.lower(), operation


class _Schemas:
    """The models of all operations as components, and references to them."""

    def __init__(self, operations: Operations) -> None:
        wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
        for each in (operation for group in operations.values() for operation in group):
            if isinstance(each.body, type):
                wanted[each.body, "validation"] = None
            for media in (media for answer in each.answers.values() for media in _several(answer)):
                if isinstance(media.schema, type):
                    wanted[media.schema, "serialization"] = None
        self._references, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=REF)
        self.components: dict[str, Any] = definitions.get("$defs", {})

    def of(self, schema: Schema, mode: JsonSchemaMode) -> Mapping[str, Any]:
        """*schema* as it stands in an operation."""
        return self._references[schema, mode] if isinstance(schema, type) else schema


def _several(answer: Media | tuple[Media, ...]) -> tuple[Media, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _operation(route: Route, path: str, method: str, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    summary, text = _told(route, operation)
    found: dict[str, Any] = {
        "operationId": _operation_id(method, path),
        "tags": [operation.tag],
        "summary": summary,
        "description": "\n\n".join(part for part in (text, _ROLES[route.access]) if part),
        "x-modelport-access": route.access,
        "parameters": [*_in_path(path, operation), *map(_in_query, operation.query), *_in_headers(route)],
        "responses": _responses(route, path, operation, schemas),
        "security": [] if route.access == "open" else [{}, *({name: []} for name in _SCHEMES)],
    }
    if route.access in {"manager", "admin", "master"}:
        found["security"].remove({})
    if operation.body is not None:
        media: dict[str, Any] = {"schema": schemas.of(operation.body, "validation")}
        if operation.example is not None:
            media["example"] = operation.example
        found["requestBody"] = {"required": operation.body_required, "content": {operation.body_type: media}}
    return found


def _told(route: Route, operation: Operation) -> tuple[str, str]:
    """Summary and text: what the description says, else the handler's docstring without what it raises."""
    handler = route.handler.found() if isinstance(route.handler, Late) else route.handler
    own = inspect.getdoc(handler) or ""
    own = re.split(r"\n\nRaises:|\bRaises\b", own)[0].strip()
    first, _, rest = own.partition("\n\n")
    summary = operation.summary or " ".join(first.split()).rstrip(".")
    text = operation.description or ("" if operation.summary else " ".join(rest.split()))
    return summary, text


def _operation_id(method: str, path: str) -> str:
    return "_".join([method, *re.findall(r"\w+", path)])


def _in_path(path: str, operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": operation.parameters.get(name, ""),
            "schema": {"type": "string"},
        }
        for name in _PLACEHOLDER.findall(path)
    ]


def _in_query(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _in_headers(route: Route) -> list[dict[str, Any]]:
    """What a client may wish of the proxy itself."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in _WISHES] if route.counts(route.method) else []


def _responses(route: Route, path: str, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        media = _several(answer)
        content: dict[str, Any] = {}
        for each in media:
            content[each.type] = {"schema": schemas.of(each.schema, "serialization")}
            if each.example is not None:
                content[each.type]["example"] = each.example
        told = next((each.description for each in media if each.description), HTTPStatus(status).phrase)
        found[str(status)] = {"description": told, "content": content}
        if route.counts(route.method):
            found[str(status)]["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in _TOLD}
    envelope = _ENVELOPE_NAMES[dialect_of(path, {})]
    found["default"] = {
        "description": "What went wrong, in the dialect's own envelope.",
        "content": {"application/json": {"schema": {"$ref": REF.format(model=envelope)}}},
    }
    return found
