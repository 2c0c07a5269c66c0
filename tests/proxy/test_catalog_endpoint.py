"""What vendors list and what their refusals have taught: asked for, kept, shown, in force, forgotten."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.app import apply
from storage.db import Database
from storage.learned import LearnedRules
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, QUICK, SECOND_KEY, Served, failing, message, provider, says, serving
from tests.replay import Answer, Asked, Upstream

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "recordings"
DAY_S = 86_400.0


def yes(**inner: Any) -> dict[str, Any]:
    return {"supported": True, **inner}


NO = {"supported": False}


def claude(name: str, most: int = 64_000, *, sees: bool = True, **more: Any) -> dict[str, Any]:
    """An entry of Anthropic's list."""
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2026-10-21T00:00:00Z",
        "max_input_tokens": 200_000,
        "max_tokens": most,
        "capabilities": {"image_input": yes() if sees else NO, "pdf_input": NO, "thinking": NO},
        **more,
    }


def gemini(name: str, *methods: str, most: int = 8192) -> dict[str, Any]:
    """An entry of Google's list."""
    return {
        "name": f"models/{name}",
        "displayName": name,
        "inputTokenLimit": 32_768,
        "outputTokenLimit": most,
        "supportedGenerationMethods": list(methods or ("generateContent", "countTokens")),
    }


def listed(*entries: dict[str, Any] | str, **more: Any) -> Answer:
    """A page in the form that OpenAI and Anthropic share."""
    data = [{"id": entry, "object": "model"} if isinstance(entry, str) else entry for entry in entries]
    return Answer.json({"object": "list", "data": data, **more})


def lists(page: Answer | Callable[[Asked], Answer], answer: Answer | Callable[[Asked], Answer] | None = None) -> Any:
    """A vendor: *page* for its list, *answer* for everything else."""

    def script(asked: Asked) -> Answer:
        chosen = page if asked.method == "GET" else (answer or says())
        return chosen if isinstance(chosen, Answer) else chosen(asked)

    return script


async def refresh(server: Served, *names: str) -> dict[str, dict[str, Any]]:
    """What a refresh says, by provider."""
    body = json.dumps({"providers": names}).encode() if names else None
    reply = await server.request("POST", "/api/v1/catalog/refresh", body)
    assert reply.status == 200, reply.body
    return {each["provider"]: each for each in reply.json["providers"]}


async def known(server: Served, query: str = "") -> list[dict[str, Any]]:
    reply = await server.get(f"/api/v1/catalog?{query}")
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["data"]
    return found


async def rule(server: Served, model: str, name: str) -> Any:
    """(value, kinds of its origins) of one rule; None where the default holds."""
    (entry,) = await known(server, f"model={model}")
    found = entry["rules"].get(name)
    return found and (found["value"], [origin["kind"] for origin in found["from"]])


def query(asked: Asked) -> dict[str, list[str]]:
    return parse_qs(urlsplit(asked.path).query)


# --- asking ----------------------------------------------------------------------------------------


async def test_a_refresh_says_what_it_brought(serve: Serve) -> None:
    with Upstream(lists(listed("alpha", "beta"))) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["status"], outcome["models"], outcome["error"]) == ("ok", 2, None)
        assert (outcome["added"], outcome["removed"], outcome["changed"]) == (["alpha", "beta"], [], {})
        assert outcome["source"] == f"{upstream.url}/v1/models"
        assert outcome["fetched_at"].endswith("Z")
        (asked,) = upstream.requests
        assert (asked.method, asked.path, asked.headers["authorization"]) == ("GET", "/v1/models", f"Bearer {KEY}")


async def test_the_next_one_says_what_has_changed(serve: Serve) -> None:
    pages = [
        listed("stays", {"id": "grows", "context_length": 10_000}, "goes"),
        listed("comes", {"id": "grows", "context_length": 20_000}, "stays"),
    ]
    with Upstream(lambda _asked: pages.pop(0)) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await refresh(server, "one")

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["added"], outcome["removed"]) == (["comes"], ["goes"])
        assert outcome["changed"] == {"grows": ["context", "rules"]}
        names = [entry["model"] for entry in await known(server, "provider=one")]
        assert names == ["comes", "grows", "stays"]


async def test_without_names_every_provider_that_is_on_is_asked(serve: Serve) -> None:
    """But not those that have no list: the demo, and Azure, whose list is not that of its deployments."""
    with Upstream(lists(listed("m"))) as upstream:
        azure = f'[providers.azure]\nbase_url = "{upstream.url}/openai/v1"\nkeys = ["{KEY}"]\n'
        server = await serve(QUICK, provider("one", upstream), azure)

        outcomes = await refresh(server)

        assert {name: each["status"] for name, each in outcomes.items()} == {
            "one": "ok", "azure": "skipped", "demo": "skipped",
        }  # fmt: skip
        assert len(upstream.requests) == 1


async def test_a_named_provider_that_is_off_is_skipped_with_the_reason(serve: Serve) -> None:
    server = await serve(QUICK)

    outcome = (await refresh(server, "anthropic"))["anthropic"]

    assert (outcome["status"], outcome["error"]) == ("skipped", "no key: set ANTHROPIC_API_KEY")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b'{"providers": ["nobody"]}', 404, "providers"),
        (b'{"providers": "one"}', 400, "providers"),
        (b'{"provider": ["one"]}', 400, "provider"),
        (b"[]", 400, None),
    ],
)
async def test_a_wrong_wish_is_refused(serve: Serve, body: bytes, status: int, param: str | None) -> None:
    server = await serve(QUICK)

    reply = await server.request("POST", "/api/v1/catalog/refresh", body)

    assert (reply.status, reply.error["param"]) == (status, param)


async def test_anthropics_list_is_read_page_by_page(serve: Serve) -> None:
    def page(asked: Asked) -> Answer:
        assert asked.headers["x-api-key"] == KEY
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert query(asked)["limit"] == ["1000"]
        if "after_id" not in query(asked):
            return listed(claude("claude-a"), claude("claude-b"), has_more=True, last_id="claude-b&x=1")
        assert query(asked)["after_id"] == ["claude-b&x=1"]
        return listed(claude("claude-c"), has_more=False, last_id="claude-c")

    with Upstream(page) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["status"], outcome["added"]) == ("ok", ["claude-a", "claude-b", "claude-c"])
        assert outcome["source"] == f"{upstream.url}/v1/models"


async def test_geminis_list_is_read_page_by_page(serve: Serve) -> None:
    def page(asked: Asked) -> Answer:
        assert asked.headers["x-goog-api-key"] == KEY
        assert query(asked)["pageSize"] == ["1000"]
        if "pageToken" not in query(asked):
            return Answer.json({"models": [gemini("gemini-a")], "nextPageToken": "a+b/c=="})
        assert query(asked)["pageToken"] == ["a+b/c=="]
        return Answer.json({"models": [gemini("gemini-b"), gemini("veo", "predictLongRunning")]})

    with Upstream(page) as upstream:
        server = await serve(QUICK, provider("one", upstream, "gemini"))

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["status"], outcome["added"]) == ("ok", ["gemini-a", "gemini-b", "veo"])


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (failing(500, "the moon is wrong"), "500 server: the moon is wrong"),
        (failing(404, "no such page"), "404 not_found: no such page"),
        (
            failing(401, f"Incorrect API key provided: {KEY}"),
            "401 authentication: Incorrect API key provided: [secret]",
        ),
        (Answer.json({"error": {"message": "not today"}}), "not today"),
        (Answer(body=b"<html>hello</html>"), "its answer is not JSON"),
        (Answer.json({"hello": "world"}), "its answer is no list of models"),
        (Answer(status=302, headers={"location": "http://127.0.0.1:9/"}), "redirects (302)"),
        (Answer.json({"data": [{"id": "m"}], "has_more": True}, stop_at=12, end="close"), "broke off"),
        (listed("m", next_page_token="same"), "leads from one page to the same again"),
    ],
)
async def test_a_failing_vendor_keeps_its_last_good_list(serve: Serve, page: Answer, told: str) -> None:
    """And the others' lists come all the same."""
    pages = [listed("kept"), page]
    with (
        Upstream(lambda _asked: pages.pop(0) if len(pages) > 1 else pages[0]) as bad,
        Upstream(lists(listed("fine"))) as good,
    ):
        server = await serve(QUICK, provider("bad", bad), provider("good", good))
        await refresh(server, "bad")

        outcomes = await refresh(server)

        assert outcomes["bad"]["status"] == "failed"
        assert told in outcomes["bad"]["error"]
        assert KEY not in json.dumps(outcomes)
        assert (outcomes["bad"]["models"], outcomes["good"]["status"]) == (1, "ok")
        assert (await server.get("/v1/models/bad/kept")).status == 200
        assert [entry["model"] for entry in await known(server, "provider=bad")] == ["kept"]


async def test_an_endless_list_is_no_list(serve: Serve) -> None:
    def page(asked: Asked) -> Answer:
        number = int(query(asked).get("page_token", ["0"])[0]) + 1
        return listed(f"m{number}", next_page_token=str(number))

    with Upstream(page) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["status"], outcome["error"]) == ("failed", "its list has more than 50 pages")
        assert len(upstream.requests) == 50


async def test_an_empty_list_is_one(serve: Serve) -> None:
    """Ollama without models."""
    with Upstream(lists(Answer.json({"object": "list", "data": None}))) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["status"], outcome["models"]) == ("ok", 0)


async def test_a_refused_key_gives_way_to_the_next(serve: Serve) -> None:
    def page(asked: Asked) -> Answer:
        return listed("m") if SECOND_KEY in asked.headers["authorization"] else failing(401, "no")

    with Upstream(page) as upstream:
        server = await serve(QUICK, provider("one", upstream, keys=(KEY, SECOND_KEY)))

        assert (await refresh(server, "one"))["one"]["status"] == "ok"


async def test_asking_for_lists_is_no_attempt(serve: Serve) -> None:
    """Neither the ledger nor health knows of it, whether it fails or not."""
    with Upstream(lists(failing(503, "busy"))) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        before = (await server.get("/health")).json["providers"]

        await refresh(server, "one")

        after = (await server.get("/health")).json["providers"]
        assert await server.rows() == []
        assert after == before


async def test_names_that_nobody_could_write_are_left_out(serve: Serve) -> None:
    with Upstream(lists(listed("good", "evil\x1b[2J", "x" * 300))) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        assert (await refresh(server, "one"))["one"]["added"] == ["good"]


# --- names -----------------------------------------------------------------------------------------


async def names(server: Served, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await server.get("/v1/models", headers)).json["data"]
    return found


async def test_listed_models_are_offered_in_every_shape_with_their_limits(serve: Serve) -> None:
    with Upstream(lists(listed(claude("claude-new", most=4321)))) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        await refresh(server, "one")

        openai = next(each for each in await names(server) if each["id"] == "one/claude-new")
        anthropic = (await server.get("/v1/models/one/claude-new", {"anthropic-version": "2023-06-01"})).json
        google = next(
            each
            for each in (await server.get("/v1beta/models")).json["models"]
            if each["name"] == "models/one/claude-new"
        )

        assert openai == {
            "id": "one/claude-new", "object": "model", "created": 1_792_540_800, "owned_by": "one",
            "context_length": 200_000, "max_output_tokens": 4321,
        }  # fmt: skip
        assert (anthropic["max_input_tokens"], anthropic["max_tokens"]) == (200_000, 4321)
        assert (anthropic["display_name"], anthropic["created_at"]) == ("Claude New", "2026-10-21T00:00:00Z")
        assert (google["inputTokenLimit"], google["outputTokenLimit"]) == (200_000, 4321)


async def test_bare_names_of_a_list_come_after_what_is_configured(serve: Serve) -> None:
    """Also after a provider that stands later in the file."""
    with (
        Upstream(lists(listed("shared", "pat-1", "own"))) as upstream,
        Upstream(lists(says(), says("second"))) as second,
    ):
        later = provider("two", second, more='models = ["shared"]\npatterns = ["pat-*"]')
        server = await serve(QUICK, provider("one", upstream), later)
        await refresh(server, "one")

        targets = {
            name: (await server.ask(model=name)).headers["x-modelport-target"] for name in ("shared", "pat-1", "own")
        }

        assert targets == {"shared": "two/shared", "pat-1": "two/pat-1", "own": "one/own"}


async def test_what_does_not_chat_is_known_but_not_offered(serve: Serve) -> None:
    page = Answer.json({"models": [gemini("gemini-chat"), gemini("veo-video", "predictLongRunning")]})
    with Upstream(lists(page)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "gemini"))
        await refresh(server, "one")

        assert [each["id"] for each in await names(server) if each["owned_by"] == "one"] == ["one/gemini-chat"]
        assert (await server.ask(model="veo-video")).status == 404
        (entry,) = await known(server, "model=veo-video")
        assert entry["listed"]["chats"] is False


async def test_who_says_which_models_are_offered_is_believed(serve: Serve) -> None:
    """`models` of a section stay as they are; the list still tells limits."""
    chosen = Answer.json({"data": [{"id": "chosen", "max_output_tokens": 77}, {"id": "other"}]})
    with Upstream(lists(chosen)) as upstream:
        server = await serve(QUICK, provider("one", upstream, more='models = ["chosen"]'))
        await refresh(server, "one")

        assert [each["id"] for each in await names(server) if each["owned_by"] == "one"] == ["one/chosen"]
        assert (await rule(server, "one/chosen", "max_output_tokens")) == (77, ["list"])


async def test_lists_outlive_the_process_and_a_reload(tmp_path: Path) -> None:
    with Upstream(lists(listed({"id": "m", "context_length": 5000}))) as upstream:
        config = QUICK + provider("one", upstream)
        async with serving(tmp_path, config) as server:
            await refresh(server, "one")
        async with serving(tmp_path, config) as server:
            found = (await server.get("/v1/models/m")).json
            shown = await rule(server, "m", "context_tokens")
            services = server.services
            apply(services, services.setup.loaded)
            after = await server.get("/v1/models/m")

        assert found["context_length"] == 5000
        assert shown == (5000, ["list"])
        assert after.status == 200
        assert len(upstream.requests) == 1


async def test_a_list_from_another_address_does_not_hold(tmp_path: Path) -> None:
    """Who moves a provider elsewhere has to ask there."""
    with Upstream(lists(listed({"id": "m", "context_length": 5000}))) as upstream, Upstream(lists(says())) as elsewhere:
        async with serving(tmp_path, QUICK + provider("one", upstream)) as server:
            await refresh(server, "one")
        async with serving(tmp_path, QUICK + provider("one", elsewhere)) as server:
            assert (await server.get("/v1/models/m")).status == 404
            assert await known(server, "provider=one") == []


# --- in force --------------------------------------------------------------------------------------


def most_of_256(asked: Asked) -> Answer:
    """A Claude that gives 256 tokens at most, whatever anybody says of it."""
    if (sent := asked.json["max_tokens"]) <= 256:
        return Answer.json(message())
    told = f"max_tokens: {sent} > 256, which is the maximum allowed number of output tokens for m"
    return Answer.json({"type": "error", "error": {"type": "invalid_request_error", "message": told}}, 400)


async def test_facts_give_way_to_quirks_and_quirks_to_lessons(tmp_path: Path) -> None:
    """Anthropic wants a limit with every request: the one that is known best goes out."""
    page = listed(claude("m", most=4000))
    seen: list[tuple[int, str]] = []

    async def look(server: Served) -> None:
        """A request that wants too much, and one that says nothing: both go out with what is known."""
        await server.ask(model="one/m", max_tokens=100_000)
        await server.services.drain()
        await server.ask(model="one/m")
        value, kinds = await rule(server, "one/m", "max_output_tokens")
        sent = [asked.json["max_tokens"] for asked in upstream.requests if asked.method == "POST"]
        assert sent[-1] == value
        seen.append((value, kinds[-1]))

    answers: list[Callable[[Asked], Answer]] = [lambda _asked: Answer.json(message())]

    def latest(asked: Asked) -> Answer:
        return answers[-1](asked)

    with Upstream(lists(page, latest)) as upstream:
        config = QUICK + provider("one", upstream, "anthropic")
        async with serving(tmp_path, config) as server:
            await refresh(server, "one")
            await look(server)
        quirky = config + "quirks = { max_output_tokens = 2000 }\n"
        async with serving(tmp_path, quirky) as server:
            await look(server)
            answers.append(most_of_256)
            await look(server)
        async with serving(tmp_path, quirky) as server:
            await refresh(server, "one")
            await look(server)

    assert seen == [(4000, "list"), (2000, "configuration"), (256, "learned"), (256, "learned")]


async def test_a_picture_is_refused_where_the_list_says_so(serve: Serve) -> None:
    page = listed(claude("blind", sees=False), claude("seeing"))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    messages = [{"role": "user", "content": [picture]}]
    with Upstream(lists(page, Answer.json(message()))) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        before = await server.ask(model="one/blind", messages=messages)

        await refresh(server, "one")
        blind = await server.ask(model="one/blind", messages=messages)
        seeing = await server.ask(model="one/seeing", messages=messages)

        assert [reply.status for reply in (before, blind, seeing)] == [200, 400, 200]
        assert blind.error["code"] == "unsupported_modality"
        assert await rule(server, "blind", "modalities") == (["text"], ["list"])


async def test_what_a_list_no_longer_says_no_longer_holds(serve: Serve) -> None:
    pages = [listed({"id": "m", "max_output_tokens": 5}), listed("other")]
    with Upstream(lists(lambda _asked: pages.pop(0))) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await refresh(server, "one")
        before = await rule(server, "one/m", "max_output_tokens")

        await refresh(server, "one")

        assert before == (5, ["list"])
        assert await rule(server, "one/m", "max_output_tokens") is None


# --- shown -----------------------------------------------------------------------------------------


async def test_every_rule_says_where_it_comes_from(serve: Serve) -> None:
    with Upstream(lists(listed(claude("claude-opus-4-7", most=9999)))) as upstream:
        quirks = "quirks = { refuses = ['top_k'], headers = { x-team = 'a' } }"
        server = await serve(QUICK, provider("one", upstream, "anthropic", more=quirks))
        await refresh(server, "one")

        (entry,) = await known(server, "provider=one&model=claude-opus-4-7")

        rules = entry["rules"]
        (listing,) = rules["max_output_tokens"]["from"]
        assert (listing["kind"], listing["source"]) == ("list", f"{upstream.url}/v1/models")
        assert listing["fetched_at"].endswith("Z")
        shipped, configured = rules["refuses"]["from"]
        assert (shipped["kind"], bool(shipped["source"]), shipped["date"][:4]) == ("shipped", True, "2026")
        assert configured == {"kind": "configuration", "source": "providers.one.quirks"}
        assert "top_k" in rules["refuses"]["value"]
        assert "stream_options" not in rules
        assert entry["listed"]["title"] == "Claude Opus 4 7"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("provider=one", {"one/alpha", "one/beta"}),
        ("model=alpha", {"one/alpha", "two/alpha"}),
        ("model=one/alpha", {"one/alpha"}),
        ("provider=two&model=alpha", {"two/alpha"}),
        ("provider=one&model=never-heard-of", {"one/never-heard-of"}),
        ("model=one/never-heard-of", {"one/never-heard-of"}),
        ("model=both", {"one/alpha", "two/alpha"}),
        ("", {"one/alpha", "one/beta", "two/alpha", "demo/echo", "demo/slow"}),
    ],
)
async def test_provider_and_model_choose(serve: Serve, query: str, found: set[str]) -> None:
    """A name of a route stands for its targets; a model that nobody lists has rules, too."""
    one = provider("one", "http://127.0.0.1:9/v1", more="models = ['alpha', 'beta']")
    two = provider("two", "http://127.0.0.1:9/v1", more="models = ['alpha']")
    server = await serve(one, two, "[routes.both]\ntargets = ['one/alpha', 'two/alpha']")

    assert {f"{entry['provider']}/{entry['model']}" for entry in await known(server, query)} == found


@pytest.mark.parametrize(("query", "param"), [("provider=nobody", "provider"), ("model=nothing", "model")])
async def test_what_does_not_exist_is_a_404(serve: Serve, query: str, param: str) -> None:
    server = await serve(QUICK)

    reply = await server.get(f"/api/v1/catalog?{query}")

    assert (reply.status, reply.error["param"]) == (404, param)


async def test_lists_say_when_they_were_fetched_and_why_some_never_are(serve: Serve) -> None:
    with Upstream(lists(listed("m"))) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await refresh(server, "one")

        found = {each["provider"]: each for each in (await server.get("/api/v1/catalog")).json["lists"]}

        assert (found["one"]["source"], found["one"]["models"]) == (f"{upstream.url}/v1/models", 1)
        assert (found["demo"]["fetched_at"], found["demo"]["never_asked"]) == (None, "it runs here and has no list")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/catalog/refresh"),
        ("GET", "/api/v1/catalog"),
        ("DELETE", "/api/v1/catalog/learned?provider=demo"),
    ],
)
async def test_only_the_operator_may(serve: Serve, method: str, path: str) -> None:
    server = await serve(QUICK, '[auth]\nmaster_key = "mp-master-0123456789"\n')

    without = await server.request(method, path)
    with_key = await server.request(method, path, headers={"authorization": "Bearer mp-master-0123456789"})

    assert (without.status, with_key.status) == (401, 200)


# --- lessons ---------------------------------------------------------------------------------------

TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported."
)


def picky(asked: Asked) -> Answer:
    """A server that takes no temperature."""
    if "temperature" in asked.json:
        return failing(400, TEMPERATURE, param="temperature", code="unsupported_value")
    return says()


async def test_a_lesson_is_shown_with_its_evidence_and_its_uses(serve: Serve) -> None:
    """Uses are requests that it has served since: those that hold what it leaves out."""
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await server.ask(model="one/m", temperature=0.7)
        await server.services.drain()
        for body in ({"temperature": 0.7}, {"temperature": 0.1}, {}):
            await server.ask(model="one/m", **body)

        (entry,) = await known(server, "provider=one")

        (lesson,) = entry["lessons"]
        assert lesson["change"] == {"refuses": ["temperature"]}
        assert (lesson["evidence"], lesson["http_status"], lesson["uses"]) == (TEMPERATURE, 400, 2)
        assert lesson["learned_at"] < lesson["expires_at"]
        assert entry["rules"]["refuses"] == {"value": ["temperature"], "from": [{"kind": "learned", **lesson}]}


async def test_uses_outlive_the_process(tmp_path: Path) -> None:
    with Upstream(picky) as upstream:
        for _ in range(2):
            async with serving(tmp_path, QUICK + provider("one", upstream)) as server:
                await server.ask(model="one/m", temperature=0.7)
                await server.services.drain()
                await server.ask(model="one/m", temperature=0.7)
                (entry,) = await known(server, "provider=one")

        assert entry["lessons"][0]["uses"] == 3


@pytest.mark.parametrize(
    ("query", "param", "told"),
    [
        ("provider=two", "provider", "there are lessons of one"),
        ("provider=one&model=x", "model", "it has some of m"),
    ],
)
async def test_forgetting_what_is_not_there_names_what_is(serve: Serve, query: str, param: str, told: str) -> None:
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await server.ask(model="one/m", temperature=0.7)
        await server.services.drain()

        reply = await server.request("DELETE", f"/api/v1/catalog/learned?{query}")

        assert (reply.status, reply.error["param"]) == (404, param)
        assert told in reply.error["message"]
        assert len(await server.services.learned.all()) == 1


async def test_lessons_of_a_provider_that_is_gone_can_be_forgotten(tmp_path: Path) -> None:
    with Upstream(picky) as upstream:
        async with serving(tmp_path, QUICK + provider("one", upstream)) as server:
            await server.ask(model="one/m", temperature=0.7)
            await server.services.drain()
    async with serving(tmp_path, QUICK) as server:
        reply = await server.request("DELETE", "/api/v1/catalog/learned?provider=one")

    assert reply.json == {"forgotten": 1}


@pytest.mark.parametrize(
    ("query", "forgotten", "left"),
    [
        ("provider=one", 2, []),
        ("provider=one&model=m", 1, ["n"]),
        ("provider=demo", 0, ["m", "n"]),
    ],
)
async def test_a_forgotten_lesson_is_tried_again(tmp_path: Path, query: str, forgotten: int, left: list[str]) -> None:
    """Overlay and database forget together."""
    with Upstream(picky) as upstream:
        config = QUICK + provider("one", upstream)
        async with serving(tmp_path, config) as server:
            for model in ("m", "n"):
                await server.ask(model=f"one/{model}", temperature=0.7)
            await server.services.drain()

            reply = await server.request("DELETE", f"/api/v1/catalog/learned?{query}")

            assert (reply.status, reply.json) == (200, {"forgotten": forgotten})
            in_force = [entry["model"] for entry in await known(server, "provider=one")]
            attempts = (await server.ask(model="one/m", temperature=0.7)).headers["x-modelport-attempts"]
            kept = [lesson.model for lesson in await server.services.learned.all()]
        assert in_force == left
        assert attempts == ("1" if "m" in left else "2")
        assert set(left) <= set(kept)


async def test_whose_lessons_are_forgotten_has_to_be_said(serve: Serve) -> None:
    server = await serve(QUICK)

    reply = await server.request("DELETE", "/api/v1/catalog/learned")

    assert (reply.status, reply.error["param"]) == (400, "provider")


async def teach(database: Path, learned_at: float, change: dict[str, Any]) -> None:
    """Let one/m have taught *change* at that moment, before the server starts."""
    async with Database(database) as db:
        learned = LearnedRules(db, now=lambda: learned_at)
        await learned.learn("one", "m", "openai_chat", change, evidence="old", http_status=400)


@pytest.mark.parametrize(("more", "asked_again"), [("", True), ("lesson_ttl_s = 7776000\n", False)])
async def test_a_vendor_may_change_its_mind(tmp_path: Path, more: str, asked_again: bool) -> None:
    """After lesson_ttl_s, 30 days unless configured, the parameter is sent again; here it is accepted."""
    with Upstream(lists(says())) as upstream:
        config = f'{QUICK}[storage]\npath = "kept.db"\n[catalog]\n{more}{provider("one", upstream)}'
        await teach(tmp_path / "kept.db", time.time() - 40 * DAY_S, {"refuses": ["temperature"]})
        async with serving(tmp_path, config) as server:
            await server.ask(model="one/m", temperature=0.7)
            left = await server.services.learned.all()

        assert ("temperature" in upstream.requests[-1].json) == asked_again
        assert bool(left) != asked_again


async def test_lessons_expire_in_a_running_server_too(serve: Serve) -> None:
    """The pruning in the background asks for it."""
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream), "[catalog]\nlesson_ttl_s = 3600\n")
        await server.ask(model="one/m", temperature=0.7)
        await server.services.drain()
        catalogue = server.services.catalogue

        await catalogue.expire(3600)
        in_force = catalogue.taught()
        await catalogue.expire(-1)

        assert in_force == [("one", "m")]
        assert (catalogue.taught(), await server.services.learned.all()) == ([], [])
        assert await rule(server, "one/m", "refuses") is None


async def test_without_healing_what_was_learned_still_holds(tmp_path: Path) -> None:
    """Switching it off stops learning; forgetting is another matter."""
    with Upstream(picky) as upstream:
        config = f'{QUICK}[storage]\npath = "kept.db"\n[catalog]\nheal = false\n{provider("one", upstream)}'
        await teach(tmp_path / "kept.db", time.time(), {"refuses": ["temperature"]})
        async with serving(tmp_path, config) as server:
            assert (await server.ask(model="one/m", temperature=0.7)).status == 200
            assert (await server.ask(model="one/n", temperature=0.7)).status == 400


async def test_a_lesson_that_is_no_rule_any_more_is_left_out(tmp_path: Path) -> None:
    """Written by another version; the rest of what that model taught holds."""
    with Upstream(picky) as upstream:
        config = f'{QUICK}[storage]\npath = "kept.db"\n{provider("one", upstream)}'
        await teach(tmp_path / "kept.db", time.time(), {"no_such_rule": True})
        await teach(tmp_path / "kept.db", time.time(), {"refuses": ["temperature"]})
        async with serving(tmp_path, config) as server:
            assert (await server.ask(model="one/m", temperature=0.7)).headers["x-modelport-attempts"] == "1"
            assert await rule(server, "one/m", "refuses") == (["temperature"], ["learned"])


# --- recorded lists --------------------------------------------------------------------------------

RECORDED = {
    "anthropic/anthropic-models-json-rig-c7d55c": ("anthropic", "claude-opus-4-7", 1_000_000, 128_000),
    "gemini/gemini-models-json-rig-6cb71d": ("gemini", "gemini-2.5-pro", 1_048_576, 65_536),
    "groq/groq-models-json-rig-e31efb": ("openai_chat", "groq/compound-mini", 131_072, 8192),
    "llamacpp/llamacpp-models-json-rig-ec9820": ("openai_chat", "/REDACTED_PATH/Qwen3-1.7B-Q4_K_M.gguf", 4096, None),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("name", sorted(RECORDED))
async def test_recorded_lists_are_taken(serve: Serve, name: str) -> None:
    dialect, model, context, most = RECORDED[name]
    body = json.loads((SHARED / f"{name}.json").read_text("utf-8"))["response"]["body"]
    with Upstream(lists(Answer.json(body))) as upstream:
        server = await serve(QUICK, provider("one", upstream, dialect))

        outcome = (await refresh(server, "one"))["one"]

        assert (outcome["status"], model in outcome["added"]) == ("ok", True)
        entry = (await server.get(f"/v1/models/one/{model}")).json
        assert (entry.get("context_length"), entry.get("max_output_tokens")) == (context, most)
