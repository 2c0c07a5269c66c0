"""What one key has made at a vendor, no other key reaches: not by its path, in a body, or in a list."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.keyed import MASTER, WITH_MASTER, bearer, make
from tests.proxy.serving import Reply, Served, provider, says
from tests.replay import Answer, Asked, Upstream

HERE: Final = {"x-modelport-provider": "one"}
FILE: Final = "file-abc123def456"
OTHERS: Final = "file-made0outside1"


def vendor(asked: Asked) -> Answer:
    """A vendor whose account holds three files, and a new thing for each question."""
    match asked.method, asked.path.partition("?")[0]:
        case "GET", "/v1/files":
            files = [{"id": each, "object": "file"} for each in ("file-masters000", FILE, OTHERS)]
            listed = {
                "object": "list",
                "data": files,
                "first_id": "file-masters000",
                "last_id": OTHERS,
                "has_more": False,
            }
            return Answer.json(listed)
        case "POST", "/v1/files":
            return Answer.json({"id": "file-masters000" if b"master" in asked.body else FILE, "object": "file"})
        case "POST", "/v1/batches":
            return Answer.json({"id": "batch_abc123def456", "input_file_id": asked.json["input_file_id"]})
        case "GET", "/v1/batches/batch_abc123def456":
            return Answer.json({"id": "batch_abc123def456", "output_file_id": "file-output1234567"})
        case "POST", "/v1/conversations":
            return Answer.json({"id": "conv_abc123def456", "object": "conversation"})
        case "POST", "/v1/chat/completions":
            return says()
        case "POST", "/v1/responses":
            return Answer.json(RESPONSE)
        case "GET", "/v1/usage":
            return Answer.json({"spent": 7})
        case _:
            return Answer.json({"ok": True})


RESPONSE: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "output": [],
    "usage": None,
}


class Keys:
    """A server with two keys and the master, and what they ask."""

    def __init__(self, server: Served, ann: str, bob: str) -> None:
        self.server = server
        self.who = {"ann": bearer(ann), "bob": bearer(bob), "master": MASTER, "nobody": {}}

    async def ask(self, who: str, method: str, path: str, body: Any = None, kind: str = "application/json") -> Reply:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {**self.who[who], **HERE, **({"content-type": kind} if raw is not None else {})}
        return await self.server.request(method, path, raw, headers)

    async def upload(self, who: str) -> Reply:
        form = f'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{who}\r\n--x--\r\n'.encode()
        return await self.ask(who, "POST", "/v1/files", form, "multipart/form-data; boundary=x")


async def keys(serve: Serve, upstream: Upstream, dialect: str = "openai_chat") -> Keys:
    server = await serve(WITH_MASTER + provider("one", upstream, dialect, more="models = ['m']"))
    ann, bob = await make(server, name="ann"), await make(server, name="bob")
    return Keys(server, ann["key"], bob["key"])


async def test_a_thing_is_reached_by_whoever_made_it_and_by_the_master(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)
        assert (await each.upload("ann")).status == 200

        found = {
            who: (await each.ask(who, "GET", f"/v1/files/{FILE}/content")).status
            for who in ("ann", "bob", "nobody", "master")
        }

        assert found == {"ann": 200, "bob": 404, "nobody": 404, "master": 200}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/v1/files/{FILE}", None),
        ("GET", f"/v1//Files/{FILE}", None),
        ("GET", f"/v1/%66iles/{FILE}", None),
        ("GET", f"/v1/files;x/{OTHERS}", None),
        ("GET", f"/v1/v1/files/{OTHERS}", None),
        ("DELETE", f"/v1/files/{FILE}", None),
        ("GET", f"/v1/files/{OTHERS}", None),
        ("DELETE", "/v1/files", None),
        ("POST", "/v1/conversations/conv_1234567890/items", {"items": []}),
        ("POST", "/v1/batches", {"input_file_id": FILE}),
        ("POST", "/v1/batches", {"input_file_id": OTHERS}),
        ("POST", "/v1/batches", {"metadata": {"x": [FILE]}}),
        ("POST", "/v1/batches", b'{"input_file_id": "\\u0066ile-abc123def456"}'),
        ("POST", "/v1/batches", b'{"input_file_id": "file-abc123def456", "input_file_id": "x"}'),
        ("POST", "/v1/responses/compact", {"model": "one/m", "previous_response_id": "resp_0123456789"}),
        ("POST", "/v1/images/edits", {"model": "one/m", "images": [{"file_id": FILE}]}),
        ("GET", f"/v1/newthings/{FILE}", None),
        ("GET", f"/v1/usage?file={FILE}", None),
    ],
)
async def test_what_is_anothers_is_as_unknown_as_what_never_was(
    serve: Serve, method: str, path: str, body: Any
) -> None:
    """And nothing of it leaves."""
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)
        await each.upload("ann")
        before = len(upstream.requests)

        reply = await each.ask("bob", method, path, body)

        assert (reply.status, reply.error["code"]) == (404, "not_found"), reply.body
        assert reply.error["type"] == "not_found_error"
        assert len(upstream.requests) == before


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"input_file_id":"file-abc123def456"}'),
        ("application/json", '{"input_file_id":"file-abc123def456"}'.encode("utf-16")),
        ("application/json", b"{'input_file_id':'file-abc123def456'}"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
    ],
)
async def test_a_body_that_cannot_be_looked_into_is_not_passed_on(serve: Serve, kind: str, body: bytes) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)

        reply = await each.ask("bob", "POST", "/v1/batches", body, kind)

        assert reply.status == 400, reply.body
        assert upstream.requests == []


async def test_what_an_answer_tells_of_ones_own_is_ones_own(serve: Serve) -> None:
    """A batch's output is a file that nobody has uploaded."""
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)
        await each.upload("ann")
        assert (await each.ask("ann", "POST", "/v1/batches", {"input_file_id": FILE})).status == 200
        assert (await each.ask("ann", "GET", "/v1/files/file-output1234567/content")).status == 404
        assert (await each.ask("ann", "GET", "/v1/batches/batch_abc123def456")).status == 200

        found = [(await each.ask(who, "GET", "/v1/files/file-output1234567/content")).status for who in ("ann", "bob")]

        assert found == [200, 404]


async def test_a_list_holds_what_is_the_askers(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)
        await each.upload("ann")
        await each.upload("master")

        lists = {who: (await each.ask(who, "GET", "/v1/files?limit=9")).json for who in ("ann", "bob", "master")}

        assert {who: [entry["id"] for entry in told["data"]] for who, told in lists.items()} == {
            "ann": [FILE],
            "bob": [],
            "master": ["file-masters000", FILE, OTHERS],
        }
        assert lists["ann"]["first_id"] == FILE
        row = (await each.server.rows())[-1]
        assert (row["status"], row["cost_usd"]) == ("ok", "0.000000000")


async def test_what_is_no_list_is_for_the_master(serve: Serve) -> None:
    with Upstream(lambda _asked: Answer.json({"spent": 7})) as upstream:
        each = await keys(serve, upstream)

        found = [(await each.ask(who, "GET", "/v1/organization/costs")).status for who in ("bob", "master")]

        assert found == [404, 200]


async def test_what_has_been_deleted_is_nobodys(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)
        await each.upload("ann")

        assert (await each.ask("ann", "DELETE", f"/v1/files/{FILE}")).status == 200
        assert (await each.ask("ann", "GET", f"/v1/files/{FILE}")).status == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": FILE}}]}]},
        ),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": FILE}]}]}),
    ],
)
async def test_a_question_to_a_model_names_no_file_of_another(serve: Serve, path: str, body: dict[str, Any]) -> None:
    """One that was made elsewhere it may name: whoever runs the account may share such."""
    dialect = "openai_responses" if "responses" in path else "openai_chat"
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream, dialect)
        await each.upload("ann")

        anns, bobs = [await each.ask(who, "POST", path, {"model": "one/m", **body}) for who in ("ann", "bob")]
        shared = json.loads(json.dumps(body).replace(FILE, OTHERS))
        also_bobs = await each.ask("bob", "POST", path, {"model": "one/m", **shared})

        assert (anns.status, bobs.status, also_bobs.status) == (200, 404, 200), (anns.body, bobs.body, also_bobs.body)


async def test_a_conversation_is_gone_on_with_by_whoever_made_it(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream, "openai_responses")
        assert (await each.ask("ann", "POST", "/v1/conversations", {})).status == 200
        question = {"model": "one/m", "input": "hi", "conversation": "conv_abc123def456"}

        found = [(await each.ask(who, "POST", "/v1/responses", question)).status for who in ("ann", "bob")]

        assert found == [200, 404]
        items = "/v1/conversations/conv_abc123def456/items"
        assert [(await each.ask(who, "POST", items, {"items": []})).status for who in ("ann", "bob")] == [200, 404]


async def test_words_that_look_like_an_id_are_words(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream)
        await each.upload("ann")

        reply = await each.ask(
            "bob", "POST", "/v1/chat/completions", {"model": "one/m", "messages": [{"role": "user", "content": FILE}]}
        )

        assert reply.status == 200


async def test_anthropics_client_is_told_in_its_own_envelope(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        each = await keys(serve, upstream, "anthropic")
        each.server.headers["anthropic-version"] = "2023-06-01"

        reply = await each.ask("bob", "GET", "/v1/messages/batches/msgbatch_0123456789/results")

        assert (reply.status, reply.json["type"], reply.error["type"]) == (404, "error", "not_found_error")


async def test_without_keys_nothing_is_different(serve: Serve) -> None:
    with Upstream(vendor) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.request("GET", f"/v1/files/{FILE}", headers=HERE)
        listed = await server.request("GET", "/v1/files", headers=HERE)

        assert (reply.status, len(listed.json["data"])) == (200, 3)
        assert await server.services.objects.owners([FILE]) == {}
