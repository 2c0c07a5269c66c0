"""Pictures and files by URL: fetched where a target cannot, from public addresses alone."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.errors import Refused
from proxy.media import (
    MAX_FETCHED_BYTES,
    MAX_FILES,
    MOST_REDIRECTS,
    Fetched,
    ForbiddenAddress,
    MediaFetcher,
    check_not_the_clouds,
    check_public,
    inline_remote,
)
from routing.catalog import rules_for
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, provider, says
from tests.replay import Answer, Upstream, free_port
from translators.dialect import Rules
from translators.neutral import Document, Image, Message, Request, Source, Text, ToolResult

PNG = b"\x89PNG\r\n\x1a\n0123"
ENCODED = base64.b64encode(PNG).decode()
JSON = {"content-type": "application/json"}


def picture(body: bytes = PNG, kind: str = "image/png", status: int = 200, **how: Any) -> Answer:
    return Answer(status, {"content-type": kind}, body, **how)


class Host:
    """A host of files: *picture* under every path but those below."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.upstream = Upstream(lambda asked: self.answers.get(asked.path, picture()))


@pytest.fixture
def host() -> Any:
    files = Host()
    with files.upstream:
        yield files


PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "2002:808:808::"]
FORBIDDEN = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "168.63.129.16",
    "100.100.100.200",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::7f00:1",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:db8::1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    check_public(address)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_other_addresses_do_not(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_public(address)


SPELLINGS = [
    "http://127.0.0.1:{port}/x.png",
    "http://localhost:{port}/x.png",
    "http://127.1:{port}/x.png",
    "http://2130706433:{port}/x.png",
    "http://0:{port}/x.png",
    "http://[::ffff:127.0.0.1]:{port}/x.png",
    "http://①②⑦.⓪.⓪.①:{port}/x.png",
    "http://１２７.0.0.1:{port}/x.png",
    "http://user@127.0.0.1:{port}/x.png",
    "http://public.example@127.0.0.1:{port}/x.png",
    "http://0x7f.0.0.1:{port}/x.png",
    "http://0177.0.0.1:{port}/x.png",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_this_machine_is_connected_to(host: Host, spelling: str) -> None:
    """Addresses, names that resolve to them, and what only the system's resolver takes for an address."""
    fetcher = MediaFetcher()

    with pytest.raises(Refused) as raised:
        await fetcher.fetch(spelling.format(port=host.upstream.port), ("image/",), "messages[0].content[1]")
    await fetcher.close()

    assert raised.value.failure.status == 400
    assert raised.value.failure.param == "messages[0].content[1]"
    assert host.upstream.connections == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/x.png", "http://localhost:{port}/x.png"])
async def test_private_addresses_can_be_allowed(host: Host, url: str) -> None:
    fetcher = MediaFetcher(allow_private=True)

    source = await fetcher.fetch(url.format(port=host.upstream.port), ("image/",), "here")
    await fetcher.close()

    assert source == Source(media_type="image/png", data=ENCODED)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
        "x.png",
        "http://[foo/",
        "http://exa mple/",
        "gopher://a/",
        "//a",
    ],
)
async def test_what_is_no_http_url_is_refused(url: str) -> None:
    fetcher = MediaFetcher(allow_private=True)

    with pytest.raises(Refused) as raised:
        await fetcher.fetch(url, ("image/",), "here")
    await fetcher.close()

    assert raised.value.failure.status == 400


def packed(body: bytes, encoding: str = "gzip", sent: bytes | None = None) -> Answer:
    headers = {"content-type": "image/png", "content-encoding": encoding}
    return Answer(200, headers, gzip.compress(body) if sent is None else sent)


BAD: dict[str, tuple[Answer, str]] = {
    "a redirect to nowhere": (Answer(302, {}, chunked=False), "status 302"),
    "not modified": (Answer(304, {"location": "/fine.png"}, chunked=False), "status 304"),
    "a redirect to another scheme": (
        Answer(302, {"location": "file:///etc/passwd"}, chunked=False),
        "no http or https",
    ),
    "a redirect to no URL": (Answer(302, {"location": "http://[x/"}, chunked=False), "no http or https"),
    "not found": (picture(status=404), "status 404"),
    "HTML": (picture(kind="text/html"), "text/html"),
    "HTML called a picture": (picture(b" <!DOCTYPE html><p>Sign in"), "of a web page"),
    "a sound called a picture": (picture(b"ID3\x04...."), "of audio/mpeg"),
    "anything called a picture": (picture(b"hello"), "nothing that is known"),
    "empty": (picture(b"", chunked=False), "nothing that is known"),
    "no type, no picture": (Answer(200, {}, b"%PDF-1.7"), "does not say what it is"),
    "too large, told": (picture(b"x" * 1001, chunked=False), "larger than 1000"),
    "too large, untold": (picture(b"x" * 1001), "larger than 1000"),
    "silent": (Answer(hang=True), "failed"),
    "silent after the head": (picture(stop_at=2, end="hang"), "failed"),
    "cut": (picture(chunked=False, stop_at=2, end="close"), "failed"),
    "a bomb": (packed(b"x" * 10**6), "larger than 1000"),
    "an encoding that was not asked for": (packed(PNG, "br"), "'br'"),
    "damaged": (packed(PNG, "deflate", b"no"), "damaged"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_fetch_that_fails_says_why(host: Host, case: str) -> None:
    host.answers["/x.png"], why = BAD[case]
    total_s = 0.5 if case.startswith("silent") else 10
    fetcher = MediaFetcher(allow_private=True, total_s=total_s, max_bytes=1000)

    with pytest.raises(Refused) as raised:
        await fetcher.fetch(f"{host.upstream.url}/x.png", ("image/",), "here")
    await fetcher.close()

    assert raised.value.failure.status == 400
    assert why in raised.value.failure.message
    assert raised.value.failure.param == "here"
    assert [asked.path for asked in host.upstream.requests] == ["/x.png"]


FINE: dict[str, Answer] = {
    "no type": Answer(200, {}, PNG),
    "another picture's type": picture(kind="image/jpeg"),
    "in capitals": picture(kind="Image/PNG; x=y"),
    "packed": packed(PNG),
    "elsewhere": Answer(302, {"location": "/fine.png"}, chunked=False),
    "elsewhere, by its whole address": Answer(308, {"location": "{url}/fine.png?a=%2F"}, chunked=False),
}


@pytest.mark.parametrize("case", FINE)
async def test_a_picture_is_what_its_bytes_say(host: Host, case: str) -> None:
    """A vendor looks at them as well, and refuses a type that they contradict."""
    answer = FINE[case]
    headers = {name: value.format(url=host.upstream.url) for name, value in answer.headers.items()}
    host.answers["/x.png"] = replace(answer, headers=headers)
    fetcher = MediaFetcher(allow_private=True)

    source = await fetcher.fetch(f"{host.upstream.url}/x.png", ("image/",), "here")
    await fetcher.close()

    assert source == Source(media_type="image/png", data=ENCODED)


async def test_a_redirect_is_followed_a_few_times(host: Host) -> None:
    """/1 leads to /2, and so on."""

    def fetcher() -> MediaFetcher:
        return MediaFetcher(allow_private=True)

    for step in range(1, 20):
        host.answers[f"/{step}"] = Answer(302, {"location": str(step + 1)}, chunked=False)
    host.answers["/20"] = picture()
    patient, strict = fetcher(), fetcher()

    source = await patient.fetch(f"{host.upstream.url}/{20 - MOST_REDIRECTS}", ("image/",), "here")
    with pytest.raises(Refused) as raised:
        await strict.fetch(f"{host.upstream.url}/{19 - MOST_REDIRECTS}", ("image/",), "here")
    await patient.close()
    await strict.close()

    assert source.data == ENCODED
    assert f"more than {MOST_REDIRECTS} times" in raised.value.failure.message


def loopback_is_public(address: str) -> None:
    if not address.startswith("127.0.0.1"):
        check_public(address)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/x.png",
        "//127.0.0.2:{port}/x.png",
        "http://[::ffff:10.0.0.1]:{port}/x.png",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
async def test_no_redirect_leads_to_an_address_that_is_not_public(host: Host, location: str) -> None:
    """Every step is checked where it is connected to, not only the first."""
    host.answers["/x.png"] = Answer(302, {"location": location.format(port=host.upstream.port)}, chunked=False)
    fetcher = MediaFetcher(check=loopback_is_public)

    with pytest.raises(Refused) as raised:
        await fetcher.fetch(f"{host.upstream.url}/x.png", ("image/",), "here")
    await fetcher.close()

    assert "not a public one" in raised.value.failure.message
    assert [asked.path for asked in host.upstream.requests] == ["/x.png"]


async def test_nothing_of_the_client_goes_along_to_another_host(host: Host) -> None:
    """Neither what it wrote before the @, nor a cookie of the host that redirects."""
    with Upstream(lambda _asked: picture()) as other:
        headers = {"location": f"{other.url}/x.png", "set-cookie": "a=b"}
        host.answers["/x.png"] = Answer(302, headers, chunked=False)
        fetcher = MediaFetcher(allow_private=True)

        await fetcher.fetch(f"http://user:pass@127.0.0.1:{host.upstream.port}/x.png", ("image/",), "here")
        await fetcher.close()

        (first,), (second,) = host.upstream.requests, other.requests
        assert first.headers["authorization"] == "Basic dXNlcjpwYXNz"
        assert not {"authorization", "cookie", "referer"} & second.headers.keys()


async def test_a_redirect_to_itself_ends(host: Host) -> None:
    host.answers["/x.png"] = Answer(302, {"location": ""}, chunked=False)
    fetcher = MediaFetcher(allow_private=True)

    with pytest.raises(Refused):
        await fetcher.fetch(f"{host.upstream.url}/x.png", ("image/",), "here")
    await fetcher.close()

    assert len(host.upstream.requests) <= MOST_REDIRECTS + 1


async def test_a_host_that_dribbles_is_left(host: Host) -> None:
    """The time is for all of it: no piece gains more."""
    host.answers["/x.png"] = picture(PNG * 100, split=1, delay_between_s=0.02)
    fetcher = MediaFetcher(allow_private=True, total_s=0.2)

    with pytest.raises(Refused) as raised:
        await asyncio.wait_for(fetcher.fetch(f"{host.upstream.url}/x.png", ("image/",), "here"), 2)
    await fetcher.close()

    assert "failed" in raised.value.failure.message


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "168.63.129.16", "x"])
def test_where_private_addresses_are_allowed_a_clouds_own_are_not(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_not_the_clouds(address)


async def test_the_files_of_one_request_are_fetched_once_and_have_a_limit() -> None:
    asked: list[str] = []

    async def fetch(url: str, _kinds: tuple[str, ...], _place: str) -> Source:
        asked.append(url)
        return Source("image/png", "A" * (MAX_FETCHED_BYTES // 2 if "large" in url else 4))

    small, large = Fetched(fetch), Fetched(fetch)

    for number in range(MAX_FILES):
        await small.fetch(f"http://a/{number}", ("image/",), "here")
        await small.fetch("http://a/0", ("image/",), "here")
    with pytest.raises(Refused) as many:
        await small.fetch("http://a/more", ("image/",), "here")
    await large.fetch("http://a/large/1", ("image/",), "here")
    await large.fetch("http://a/large/2", ("image/",), "here")
    with pytest.raises(Refused) as much:
        await large.fetch("http://a/large/3", ("image/",), "here")

    assert asked[:MAX_FILES] == [f"http://a/{number}" for number in range(MAX_FILES)]
    assert "at most" in many.value.failure.message
    assert "together" in much.value.failure.message


async def test_an_unreachable_host_is_told() -> None:
    fetcher = MediaFetcher(allow_private=True)

    with pytest.raises(Refused) as raised:
        await fetcher.fetch(f"http://127.0.0.1:{free_port()}/x.png", ("image/",), "here")
    await fetcher.close()

    assert "cannot be reached" in raised.value.failure.message


async def test_remote_parts_are_replaced_where_they_stand() -> None:
    """Also within tool results; what the target fetches itself, or has no URL, stays."""
    asked: list[tuple[str, tuple[str, ...], str]] = []

    async def fetch(url: str, kinds: tuple[str, ...], place: str) -> Source:
        asked.append((url, kinds, place))
        return Source(media_type="image/png", data="AA==")

    remote, inline, own = Source(url="http://a/x"), Source("image/png", data="BB=="), Source(url="https://own/x")
    request = Request(
        "openai_chat",
        "m",
        (
            Message("user", (Text("hi"),)),
            Message("user", (Text("see"), Image(remote), Image(inline), Image(own), Document(remote))),
            Message("tool", (ToolResult("c", (Image(remote),)),)),
        ),
    )

    changed = await inline_remote(request, Rules(image_url_prefixes=("https://own/",)), fetch)

    assert [(url, place) for url, _, place in asked] == [
        ("http://a/x", "messages[1].content[1]"),
        ("http://a/x", "messages[1].content[4]"),
        ("http://a/x", "messages[2].content[0]"),
    ]
    assert changed.messages[0] is request.messages[0]
    assert changed.messages[1].parts[3] == Image(own)
    assert changed.messages[1].parts[1] == Image(Source(media_type="image/png", data="AA=="))
    assert await inline_remote(request, Rules(), fetch) is request

    asked.clear()
    await inline_remote(request, Rules(image_urls=False, file_urls=False, image_url_prefixes=("https://own/",)), fetch)
    assert "https://own/x" in {url for url, _, _ in asked}, (
        "a server that fetches nothing does not fetch its own either"
    )


def with_picture(url: str) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]


GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "a cat"}]}, "finishReason": "STOP"}]}
OPEN = "[server]\nmedia_allow_private = true\n"


async def test_gemini_gets_the_content(serve: Serve, upstream: Upstream, host: Host) -> None:
    upstream.script("m", Answer.json(GEMINI))
    server = await serve(OPEN, provider("one", upstream, "gemini"))

    reply = await server.ask(model="one/m", messages=with_picture(f"{host.upstream.url}/x.png"))

    (asked,) = upstream.asked("m")
    assert reply.text == "a cat"
    assert {"inlineData": {"mimeType": "image/png", "data": ENCODED}} in asked.json["contents"][0]["parts"]


async def test_a_server_that_fetches_nothing_gets_the_content(serve: Serve, upstream: Upstream, host: Host) -> None:
    upstream.script("m", says())
    server = await serve(OPEN, provider("one", upstream, more="quirks = { image_urls = false }"))

    await server.ask(model="one/m", messages=with_picture(f"{host.upstream.url}/x.png"))

    (asked,) = upstream.asked("m")
    assert asked.json["messages"][1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{ENCODED}"


async def test_a_server_in_the_own_network_is_never_sent_a_url(serve: Serve, upstream: Upstream) -> None:
    """Unless the configuration says that it may fetch."""
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m", messages=with_picture("http://10.0.0.1/x.png"))

    assert (reply.status, reply.error["code"], upstream.requests) == (400, "invalid_media_url", [])


async def test_a_server_that_fetches_gets_the_url(serve: Serve, upstream: Upstream, host: Host) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream, more="quirks = { image_urls = true }"))

    await server.ask(model="one/m", messages=with_picture("http://10.0.0.1/x.png"))

    (asked,) = upstream.asked("m")
    assert asked.json["messages"][1]["content"][1]["image_url"]["url"] == "http://10.0.0.1/x.png"
    assert host.upstream.requests == []


async def test_a_failed_fetch_is_a_400_that_names_the_part(serve: Serve, upstream: Upstream, host: Host) -> None:
    """And no other target is bothered with it."""
    server = await serve(QUICK, provider("one", upstream, "gemini"))

    reply = await server.ask(model="one/m", messages=with_picture(f"{host.upstream.url}/x.png"))

    assert reply.status == 400
    assert reply.error["param"] == "messages[1].content[1]"
    assert reply.error["code"] == "invalid_media_url"
    assert host.upstream.connections == 0
    assert upstream.requests == []
    assert (await server.get("/health")).json["status"] != "down"


async def test_fetching_counts_against_the_clients_timeout(serve: Serve, upstream: Upstream, host: Host) -> None:
    host.answers["/x.png"] = Answer(hang=True)
    server = await serve(OPEN, provider("one", upstream, "gemini"))

    reply = await asyncio.wait_for(
        server.ask(
            {"x-modelport-timeout-s": "0.1"}, model="one/m", messages=with_picture(f"{host.upstream.url}/x.png")
        ),
        2,
    )

    assert reply.status == 504
    assert upstream.requests == []


async def test_a_file_that_openais_chat_cannot_fetch_is_fetched() -> None:
    """Its `file` parts hold data; an image is passed on as it is."""
    document, picture = Document(Source(url="http://a/d.pdf")), Image(Source(url="http://a/p.png"))
    request = Request("anthropic", "m", (Message("user", (document, picture)),))

    async def fetch(url: str, _kinds: tuple[str, ...], place: str) -> Source:
        return Source("application/pdf", f"{url} {place}")

    inlined = await inline_remote(request, rules_for("openai_chat", "gpt-4.1"), fetch)

    assert inlined.messages[0].parts == (
        Document(Source("application/pdf", "http://a/d.pdf messages[0].content[0]")),
        picture,
    )


async def test_nothing_to_fetch_is_the_same_request() -> None:
    """By identity, which keeps the verbatim way."""
    request = Request("gemini", "m", (Message("user", (Text("x"), Image(Source("image/png", "eA==")))),))

    async def fetch(_url: str, _kinds: tuple[str, ...], _place: str) -> Source:
        raise AssertionError

    assert await inline_remote(request, rules_for("gemini", "gemini-3.8-flash"), fetch) is request


# --- what a server of one's own is sent --------------------------------------------------------------

SECRET = "http://10.1.2.3/SECRET.png"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GENERATE = "/v1beta/models/one/m:generateContent"


def chat_with(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "x"}]}]}


def responses_with(*items: Any) -> dict[str, Any]:
    return {"store": False, "input": [{"role": "user", "content": "x"}, *items]}


def messages_with(url: str) -> dict[str, Any]:
    block = {"type": "image", "source": {"type": "url", "url": url}}
    return {"max_tokens": 10, "messages": [{"role": "user", "content": [block]}]}


def contents_with(url: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": url, "mimeType": "image/png"}}]}]}


def input_image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "input_image", "image_url": url}]}


ADDRESSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a picture": ("openai_chat", CHAT, chat_with(type="image_url", image_url={"url": SECRET})),
    "a film": ("openai_chat", CHAT, chat_with(type="video_url", video_url={"url": SECRET})),
    "a film as a text": ("openai_chat", CHAT, chat_with(type="video_url", video_url=SECRET)),
    "a sound": ("openai_chat", CHAT, chat_with(type="audio_url", audio_url={"url": SECRET})),
    "a sound as data": (
        "openai_chat",
        CHAT,
        chat_with(type="input_audio", input_audio={"data": SECRET, "format": "wav"}),
    ),
    "a sound's address beside it": (
        "openai_chat",
        CHAT,
        chat_with(type="input_audio", input_audio={"data": "AAAA", "format": "wav", "url": SECRET}),
    ),
    "a picture of Responses": ("openai_chat", CHAT, chat_with(type="input_image", image_url=SECRET)),
    "a file": ("openai_chat", CHAT, chat_with(type="file_url", file_url={"url": SECRET})),
    "a kind of part that nobody knows": ("openai_chat", CHAT, chat_with(type="scan", parts=[{"scan_url": SECRET}])),
    "in capitals": ("openai_chat", CHAT, chat_with(type="video_url", video_url={"url": " HTTP://10.1.2.3/SECRET.mp4"})),
    "a path": ("openai_chat", CHAT, chat_with(type="video_url", video_url={"url": "/etc/SECRET"})),
    "a screenshot": (
        "openai_responses",
        RESPONSES,
        responses_with(
            {"type": "computer_call", "call_id": "c", "id": "cu_1", "pending_safety_checks": [], "status": "completed"},
            {"type": "computer_call_output", "call_id": "c", "output": {"type": "input_image", "image_url": SECRET}},
        ),
    ),
    "Responses": ("openai_responses", RESPONSES, responses_with(input_image(SECRET))),
    "Messages": ("anthropic", MESSAGES, messages_with(SECRET)),
    "Gemini": ("gemini", GENERATE, contents_with(SECRET)),
    "chat for Messages": ("anthropic", CHAT, chat_with(type="image_url", image_url={"url": SECRET})),
    "chat for Responses": ("openai_responses", CHAT, chat_with(type="image_url", image_url={"url": SECRET})),
}


@pytest.mark.parametrize("case", ADDRESSED)
async def test_a_server_of_ones_own_is_sent_no_address_whatever_carries_it(
    serve: Serve, upstream: Upstream, case: str
) -> None:
    dialect, path, body = ADDRESSED[case]
    server = await serve(QUICK, provider("one", upstream, dialect))

    reply = await server.request("POST", path, json.dumps({"model": "one/m", **body}).encode(), JSON)

    assert (reply.status, upstream.requests) == (400, []), reply.body
    assert b"SECRET" not in reply.body


TOOL_SERVERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "Responses": (
        "openai_responses",
        RESPONSES,
        {"input": "x", "store": False, "tools": [{"type": "mcp", "server_label": "a", "server_url": SECRET}]},
        "tools[0].server_url",
    ),
    "Responses without a scheme": (
        "openai_responses",
        RESPONSES,
        {
            "input": "x",
            "store": False,
            "tools": [{"type": "mcp", "server_label": "a", "server_url": "10.1.2.3/SECRET"}],
        },
        "tools[0].server_url",
    ),
    "chat": (
        "openai_chat",
        CHAT,
        {**chat_with(type="text", text="x"), "tools": [{"type": "mcp", "mcp": {"server": {"url": SECRET}}}]},
        "tools[0].mcp.server.url",
    ),
    "chat for Responses": (
        "openai_responses",
        CHAT,
        {**chat_with(type="text", text="x"), "tools": [{"type": "mcp", "server_label": "a", "server_url": SECRET}]},
        "tools[0].server_url",
    ),
    "Messages": (
        "anthropic",
        MESSAGES,
        {
            "max_tokens": 10,
            "messages": [{"role": "user", "content": "x"}],
            "mcp_servers": [{"type": "url", "name": "a", "url": SECRET}],
            "tools": [{"type": "mcp_toolset", "mcp_server_name": "a"}],
        },
        "mcp_servers[0].url",
    ),
    "Gemini": (
        "gemini",
        GENERATE,
        {
            "contents": [{"role": "user", "parts": [{"text": "x"}]}],
            "tools": [{"mcpServers": [{"name": "a", "streamableHttpTransport": {"url": SECRET}}]}],
        },
        "tools[0].mcpServers[0].streamableHttpTransport.url",
    ),
}


@pytest.mark.parametrize("case", TOOL_SERVERS)
async def test_a_server_of_ones_own_is_not_told_whom_to_call(serve: Serve, upstream: Upstream, case: str) -> None:
    """A vendor's server is: the request reaches it as it came."""
    dialect, path, body, place = TOOL_SERVERS[case]
    fetches = "quirks = { image_urls = true, file_urls = true }"
    server = await serve(QUICK, provider("one", upstream, dialect), provider("far", upstream, dialect, more=fetches))
    upstream.script("m", failing(500))

    near, far = [
        await server.request(
            "POST", path.replace("one/m", f"{name}/m"), json.dumps({**body, "model": f"{name}/m"}).encode(), JSON
        )
        for name in ("one", "far")
    ]

    assert (near.status, far.status, len(upstream.requests)) == (400, 502, 1), near.body
    assert near.json["error"].get("param", place) == place
    assert place in near.error["message"]
    assert (b"SECRET" in near.body, b"SECRET" in upstream.requests[0].body) == (False, True)


FILES = {
    "chat": ("openai_chat", CHAT, chat_with(type="image_url", image_url={"url": "file:///etc/passwd"})),
    "a film": ("openai_chat", CHAT, chat_with(type="video_url", video_url={"url": "FILE:///etc/passwd"})),
    "with blanks": ("openai_chat", CHAT, chat_with(type="image_url", image_url={"url": " fi\tle:///etc/passwd"})),
    "Responses": ("openai_responses", RESPONSES, responses_with(input_image("file:///etc/passwd"))),
    "Messages": ("anthropic", MESSAGES, messages_with("file:///etc/passwd")),
    "Gemini": ("gemini", GENERATE, contents_with("file:///etc/passwd")),
}


@pytest.mark.parametrize("case", FILES)
async def test_no_server_is_sent_the_address_of_a_file_not_even_one_that_may_fetch(
    serve: Serve, upstream: Upstream, case: str
) -> None:
    dialect, path, body = FILES[case]
    fetches = "quirks = { image_urls = true, file_urls = true }"
    server = await serve(QUICK, provider("one", upstream, dialect, more=fetches))

    reply = await server.request("POST", path, json.dumps({"model": "one/m", **body}).encode(), JSON)

    assert (reply.status, upstream.requests) == (400, []), reply.body
    assert "local file" in reply.error["message"]


WORDS: dict[str, dict[str, Any]] = {
    "a data URL": chat_with(type="video_url", video_url={"url": "data:video/mp4;base64,AAAA"}),
    "content": chat_with(type="input_audio", input_audio={"data": "AAAA", "format": "wav"}),
    "a text": chat_with(type="text", text=f"Look at {SECRET}"),
    "a file's text": chat_with(type="document", source={"type": "text", "data": f"{SECRET} is a link"}),
}


@pytest.mark.parametrize("case", WORDS)
async def test_content_and_words_reach_a_server_of_ones_own_as_they_are(
    serve: Serve, upstream: Upstream, case: str
) -> None:
    upstream.script("m", says())
    server = await serve(QUICK, provider("one", upstream))

    reply = await server.ask(model="one/m", **WORDS[case])

    (asked,) = upstream.asked("m")
    assert (reply.status, asked.json["messages"]) == (200, WORDS[case]["messages"])
