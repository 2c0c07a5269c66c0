"""Pictures and files by URL: fetched where a target cannot, from public addresses alone."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from proxy.errors import Refused
from proxy.media import ForbiddenAddress, MediaFetcher, check_public, inline_remote
from routing.catalog import rules_for
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, provider, says
from tests.replay import Answer, Upstream, free_port
from translators.dialect import Rules
from translators.neutral import Document, Image, Message, Request, Source, Text, ToolResult

PNG = b"\x89PNG\r\n\x1a\n0123"
ENCODED = base64.b64encode(PNG).decode()


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


BAD: dict[str, tuple[Answer, str]] = {
    "a redirect": (Answer(302, {"location": "/fine.png"}, chunked=False), "status 302"),
    "not found": (picture(status=404), "status 404"),
    "HTML": (picture(kind="text/html"), "text/html"),
    "no type": (Answer(200, {}, PNG), "application/octet-stream"),
    "too large, told": (picture(b"x" * 1001, chunked=False), "larger than 1000"),
    "too large, untold": (picture(b"x" * 1001), "larger than 1000"),
    "silent": (Answer(hang=True), "failed"),
    "silent after the head": (picture(stop_at=2, end="hang"), "failed"),
    "cut": (picture(chunked=False, stop_at=2, end="close"), "failed"),
    "a bomb": (
        Answer(
            200, {"content-type": "image/png", "content-encoding": "gzip"}, __import__("gzip").compress(b"x" * 10**6)
        ),
        "larger than 1000",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_fetch_that_fails_says_why(host: Host, case: str) -> None:
    host.answers["/x.png"], why = BAD[case]
    fetcher = MediaFetcher(allow_private=True, total_s=0.2, max_bytes=1000)

    with pytest.raises(Refused) as raised:
        await fetcher.fetch(f"{host.upstream.url}/x.png", ("image/",), "here")
    await fetcher.close()

    assert raised.value.failure.status == 400
    assert why in raised.value.failure.message
    assert raised.value.failure.param == "here"
    assert [asked.path for asked in host.upstream.requests] == ["/x.png"]


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


async def test_a_server_that_fetches_gets_the_url(serve: Serve, upstream: Upstream, host: Host) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))

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
