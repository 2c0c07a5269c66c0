"""The transport from outside: what goes over the wire, which connection is used, and every clock."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.transport import Counts, Deadlines, Origin, Reply, Transport
from proxy.transport.connection import Connection
from proxy.transport.errors import (
    BadAnswer,
    ConnectFailed,
    ConnectTimeout,
    Disconnected,
    HeadTimeout,
    IdleTimeout,
    TooLarge,
    TotalTimeout,
    TransportError,
    WriteTimeout,
)
from tests.proxy.transport.raw import Said, Server
from tests.replay import free_port

HEAD = b"POST /x HTTP/1.1\r\nhost: test\r\n"
GET = b"GET /x HTTP/1.1\r\nhost: test\r\n"
FINE = b"HTTP/1.1 200 Fine\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}"
PATIENT = Deadlines(connect_s=5, head_s=5, idle_s=5, write_s=5)
MEGABYTES = b"0123456789abcdef" * 2**18
"""Four of them: more than a socket takes at once."""


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport()
    yield made
    await made.close()


async def post(transport: Transport, server: Server, body: bytes = b"{}", clocks: Deadlines = PATIENT) -> Reply:
    return await transport.send("POST", server.origin, HEAD, body, clocks)


async def body_of(transport: Transport, server: Server, clocks: Deadlines = PATIENT) -> bytes:
    return await (await post(transport, server, b"{}", clocks)).read(1 << 20)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until it is so."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


# --- what goes out and what comes


async def test_a_request_goes_out_as_it_is_and_its_answer_comes_as_it_came(transport: Transport) -> None:
    async with Server(Said([FINE])) as server:
        reply = await post(transport, server)

        assert server.asked == [HEAD + b"content-length: 2\r\n\r\n{}"]
        assert (reply.status, reply.reason) == (200, b"Fine")
        assert reply.headers == [(b"X-A", b"b"), (b"Content-Length", b"2")]
        assert (reply.header(b"x-a"), reply.header(b"x-b")) == (b"b", None)
        assert await reply.read(10) == b"{}"


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("GET", b"", b"\r\n"),
        ("DELETE", b"", b"\r\n"),
        ("POST", b"", b"content-length: 0\r\n\r\n"),
        ("PUT", b"", b"content-length: 0\r\n\r\n"),
        ("GET", b"{}", b"content-length: 2\r\n\r\n{}"),
    ],
)
async def test_a_body_is_framed(transport: Transport, method: str, body: bytes, framing: bytes) -> None:
    async with Server(Said([FINE])) as server:
        await transport.send(method, server.origin, GET, body, PATIENT)

        assert server.asked == [GET + framing]


async def test_a_body_in_pieces_goes_out_in_chunks(transport: Transport) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first, "
        yield b""
        yield b"second"

    async with Server(Said([FINE])) as server:
        await transport.send("POST", server.origin, HEAD, pieces(), PATIENT)

        assert server.asked == [HEAD + b"transfer-encoding: chunked\r\n\r\nfirst, second"]


async def test_a_long_body_goes_out_whole_and_the_connection_serves_on(transport: Transport) -> None:
    async with Server(Said([FINE])) as server:
        assert await (await post(transport, server, MEGABYTES)).read(10) == b"{}"
        await body_of(transport, server)

        assert server.asked[0].endswith(b"\r\n\r\n" + MEGABYTES)
        assert server.connections == 1


async def test_each_read_of_the_socket_gives_one_piece(transport: Transport) -> None:
    """Several chunks that come together stay together."""
    read = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Server(Said([head, read, b"1\r\na\r\n2\r\nbc\r\n", read, b"1\r\nd\r\n0\r\n\r\n"])) as server:
        reply = await post(transport, server)
        read.set()

        assert [piece async for piece in reply] == [b"abc", b"d"]


async def test_a_body_beyond_the_limit_is_refused(transport: Transport) -> None:
    async with Server(Said([FINE])) as server:
        with pytest.raises(TooLarge, match="larger than 1 byte"):
            await (await post(transport, server)).read(1)


# --- which connection


async def test_the_connection_that_was_used_last_is_used_next(transport: Transport) -> None:
    hold = asyncio.Event()
    async with Server(Said([hold, FINE])) as server:
        both = [asyncio.create_task(body_of(transport, server)) for _ in range(2)]
        await until(lambda: len(server.asked) == 2)
        hold.set()
        await asyncio.gather(*both)

        for _ in range(3):
            await body_of(transport, server)

        assert server.by[2:] == [server.by[2]] * 3
        assert (server.connections, transport.counts) == (2, Counts(open=2, idle=2, waiting=0))


async def test_an_idle_connection_is_closed_in_time() -> None:
    transport = Transport(idle_s=0.05)
    async with Server(Said([FINE])) as server:
        await body_of(transport, server)
        await server.over(1)

        assert transport.counts == Counts(0, 0, 0)
    await transport.close()


async def test_no_more_connections_than_allowed_and_those_in_line_in_their_order() -> None:
    transport = Transport(per_origin=1)
    hold = asyncio.Event()
    order: list[int] = []

    async def ask(number: int) -> None:
        await body_of(transport, server)
        order.append(number)

    async with Server(Said([hold, FINE])) as server:
        asking = [asyncio.create_task(ask(number)) for number in range(4)]
        await until(lambda: bool(server.asked))
        waiting = transport.counts
        asking[2].cancel()
        hold.set()
        await asyncio.gather(*asking, return_exceptions=True)

        assert waiting == Counts(open=1, idle=0, waiting=3)
        assert (order, server.connections, transport.counts.waiting) == ([0, 1, 3], 1, 0)
    await transport.close()


async def test_one_who_waits_gets_the_place_of_a_connection_that_broke() -> None:
    transport = Transport(per_origin=1)
    hold = asyncio.Event()
    async with Server(Said([hold], "close"), Said([FINE])) as server:
        first = asyncio.create_task(body_of(transport, server))
        await until(lambda: bool(server.asked))
        second = asyncio.create_task(body_of(transport, server))
        await until(lambda: transport.counts.waiting == 1)
        hold.set()

        with pytest.raises(Disconnected):
            await first
        assert await second == b"{}"
    await transport.close()


async def test_a_place_in_line_is_not_lost_with_one_who_leaves_as_his_turn_comes() -> None:
    transport = Transport(per_origin=1)
    hold = asyncio.Event()
    async with Server(Said([hold, FINE])) as server:
        first = asyncio.create_task(body_of(transport, server))
        await until(lambda: bool(server.asked))
        second = asyncio.create_task(body_of(transport, server))
        await until(lambda: transport.counts.waiting == 1)
        hold.set()
        await until(lambda: transport.counts.waiting == 0)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

        assert await body_of(transport, server) == b"{}"
        assert transport.counts == Counts(open=1, idle=1, waiting=0)
    await transport.close()


async def test_a_free_place_is_not_lost_either() -> None:
    """It was given to one who leaves before he can open a connection."""

    class Hasty(Transport):
        def lost(self, connection: Connection) -> None:
            super().lost(connection)
            self.loop.call_soon(second.cancel)

    transport = Hasty(per_origin=1)
    hold = asyncio.Event()
    async with Server(Said([hold], "close"), Said([FINE])) as server:
        first = asyncio.create_task(body_of(transport, server))
        await until(lambda: bool(server.asked))
        second = asyncio.create_task(body_of(transport, server))
        await until(lambda: transport.counts.waiting == 1)
        hold.set()
        await asyncio.gather(first, second, return_exceptions=True)

        assert (second.cancelled(), transport.counts) == (True, Counts(0, 0, 0))
        assert await body_of(transport, server) == b"{}"
    await transport.close()


async def test_an_idle_connection_of_another_origin_makes_room() -> None:
    transport = Transport(limit=1)
    async with Server(Said([FINE])) as one, Server(Said([FINE])) as other:
        await body_of(transport, one)
        await body_of(transport, other)
        await one.over(1)

        assert transport.counts == Counts(open=1, idle=1, waiting=0)
    await transport.close()


async def test_who_waits_in_line_waits_as_long_as_for_a_head() -> None:
    transport = Transport(per_origin=1)
    async with Server(Said()) as server:
        first = asyncio.create_task(body_of(transport, server))
        await until(lambda: bool(server.asked))

        with pytest.raises(HeadTimeout):
            await body_of(transport, server, PATIENT._replace(head_s=0.05))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert transport.counts.waiting == 0
    await transport.close()


async def test_bytes_that_nobody_asked_for_cost_the_connection(transport: Transport) -> None:
    async with Server(Said([FINE])) as server:
        await body_of(transport, server)
        server.writers[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

        assert await body_of(transport, server) == b"{}"
        assert server.connections == 2


# --- stale connections


async def test_a_connection_that_the_server_closed_is_not_used(transport: Transport) -> None:
    """The system knows of the end before the loop does; a POST must not run into it."""
    async with Server(Said([FINE], "close"), Said([FINE])) as server:
        await body_of(transport, server)
        await server.over(1)

        assert await body_of(transport, server) == b"{}"
        assert (server.connections, len(server.asked)) == (2, 2)


@pytest.mark.parametrize(("method", "sent"), [("GET", 3), ("PUT", 3), ("POST", 2)])
async def test_only_what_may_be_repeated_is_sent_again(transport: Transport, method: str, sent: int) -> None:
    """The server takes the second request on a used connection and closes without a byte."""
    async with Server(Said([FINE]), Said([], "close"), Said([FINE])) as server:
        await body_of(transport, server)
        try:
            reply = await transport.send(method, server.origin, HEAD, b"{}", PATIENT)
            assert await reply.read(10) == b"{}"
        except Disconnected:
            assert method == "POST"

        assert len(server.asked) == sent


async def test_nothing_is_sent_twice_on_new_connections_or_after_a_byte_of_an_answer(transport: Transport) -> None:
    async with Server(Said([], "close"), Said([FINE]), Said([b"H"], "close")) as server:
        with pytest.raises(Disconnected):
            await transport.send("GET", server.origin, GET, b"", PATIENT)
        await body_of(transport, server)
        with pytest.raises(Disconnected):
            await transport.send("GET", server.origin, GET, b"", PATIENT)

        assert len(server.asked) == 3


# --- answers that come early


@pytest.mark.parametrize("long", [False, True], ids=["in pieces", "long"])
async def test_a_refusal_while_the_body_is_sent_ends_the_sending(transport: Transport, long: bool) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x" * 1024

    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"
    async with Server(Said([refused], early=True)) as server:
        body: bytes | AsyncIterator[bytes] = MEGABYTES * 4 if long else endless()
        reply = await transport.send("POST", server.origin, HEAD, body, PATIENT)

        assert (reply.status, await reply.read(10)) == (413, b"{}")
        assert transport.counts.open == 0
        given_then = given
        for _ in range(10):
            await asyncio.sleep(0)
        assert given == given_then


async def test_after_a_refusal_has_begun_no_more_is_asked_of_the_body(transport: Transport) -> None:
    refused, rest = asyncio.Event(), asyncio.Event()
    given = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x"
            await refused.wait()

    head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n"
    async with Server(Said([head, rest, b"{}"], early=True)) as server:
        reply = await transport.send("POST", server.origin, HEAD, pieces(), PATIENT)
        refused.set()
        for _ in range(10):
            await asyncio.sleep(0)
        rest.set()

        assert (given, await reply.read(10)) == (1, b"{}")


async def test_a_whole_answer_to_half_a_request_costs_the_connection(transport: Transport) -> None:
    never = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await never.wait()

    async with Server(Said([FINE], early=True)) as server:
        reply = await transport.send("POST", server.origin, HEAD, pieces(), PATIENT)

        assert await reply.read(10) == b"{}"
        assert transport.counts.open == 0


async def test_an_answer_may_begin_before_the_request_is_whole(transport: Transport) -> None:
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await begun.wait()
        yield b"second"

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Server(Said([head, begun, b"2\r\n{}\r\n0\r\n\r\n"], early=True)) as server:
        reply = await transport.send("POST", server.origin, HEAD, pieces(), PATIENT)
        begun.set()

        assert await reply.read(10) == b"{}"


async def test_a_body_that_breaks_off_is_an_error_with_its_cause(transport: Transport) -> None:
    objection = ValueError("no more")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise objection

    async with Server(Said([FINE])) as server:
        with pytest.raises(Disconnected) as raised:
            await transport.send("POST", server.origin, HEAD, pieces(), PATIENT)

        assert raised.value.__cause__ is objection
        await server.over(1)


# --- clocks


async def test_every_clock(transport: Transport) -> None:
    """Each has an error of its own, and the server sees the end of the connection."""
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    cases: list[tuple[type[TransportError], Said, Deadlines, bytes]] = [
        (HeadTimeout, Said(), PATIENT._replace(head_s=0.05), b"{}"),
        (HeadTimeout, Said([b"HTTP/1.1 200"]), PATIENT._replace(head_s=0.05), b"{}"),
        (IdleTimeout, Said([begun]), PATIENT._replace(idle_s=0.05), b"{}"),
        (TotalTimeout, Said([begun]), PATIENT._replace(total_s=0.05), b"{}"),
        (TotalTimeout, Said(), PATIENT._replace(total_s=0.05), b"{}"),
        (WriteTimeout, Said([asyncio.Event()], early=True), PATIENT._replace(write_s=0.05), MEGABYTES * 8),
    ]
    for number, (error, said, clocks, body) in enumerate(cases):
        async with Server(said) as server:
            with pytest.raises(error, match=r"0\.05 s"):
                await (await post(transport, server, body, clocks)).read(100)
            if number < len(cases) - 1:
                await server.over(1)
    assert transport.counts.open == 0


async def test_the_idle_clock_waits_for_a_reader(transport: Transport) -> None:
    """What came while nobody read is no silence."""
    begin, more = asyncio.Event(), asyncio.Event()
    async with Server(Said([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", begin, b"{", more, b"}"])) as server:
        reply = await post(transport, server, b"{}", PATIENT._replace(idle_s=0.15))
        begin.set()
        first = await reply.piece()
        for _ in range(3):
            with pytest.raises(IdleTimeout):
                async with Server(Said([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"])) as silent:
                    await body_of(transport, silent, PATIENT._replace(idle_s=0.15))
        more.set()

        assert first + await reply.piece() == b"{}"


async def test_dribbled_heads_and_chunks_without_a_body_do_not_wind_the_clocks(transport: Transport) -> None:
    async with Server(Said([b"HTTP/1.1 100 Continue\r\n\r\n"] * 2000)) as server:
        with pytest.raises(TransportError):
            await body_of(transport, server, PATIENT._replace(head_s=0.1))


async def test_a_server_that_takes_no_connection() -> None:
    """Its queue is full: the system answers nothing."""
    transport = Transport()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        origin = Origin("127.0.0.1", listening.getsockname()[1], tls=False)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        with pytest.raises(ConnectTimeout, match=r"0\.05 s"):
            await transport.send("POST", origin, HEAD, b"{}", PATIENT._replace(connect_s=0.05))
        for filler in fillers:
            filler.close()

        assert transport.counts == Counts(0, 0, 0)
    await transport.close()


async def test_no_timer_is_left_when_nothing_is_open(transport: Transport) -> None:
    async with Server(Said([FINE], "close")) as server:
        await body_of(transport, server)
        await until(lambda: transport._sweeping is None)

        assert transport.counts == Counts(0, 0, 0)


# --- leaving


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\n"]], ids=["silent", "half a head"])
async def test_a_request_that_is_cancelled_hangs_up(transport: Transport, pieces: list[bytes]) -> None:
    async with Server(Said([*pieces])) as server:
        asking = asyncio.create_task(post(transport, server))
        await until(lambda: bool(server.asked))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        await server.over(1)
        assert transport.counts.open == 0


async def test_closing_an_answer_hangs_up(transport: Transport) -> None:
    async with Server(Said([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"])) as server:
        reply = await post(transport, server)
        assert await reply.piece() == b"{"
        reply.close()

        await server.over(1)
        with pytest.raises(Disconnected, match="closed by its reader"):
            await reply.piece()


async def test_closing_an_answer_that_is_whole_leaves_the_connection(transport: Transport) -> None:
    async with Server(Said([FINE])) as server:
        (await post(transport, server)).close()
        await body_of(transport, server)

        assert server.connections == 1


async def test_a_cancelled_read_loses_nothing(transport: Transport) -> None:
    more = asyncio.Event()
    async with Server(Said([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", more, b"{}"])) as server:
        reply = await post(transport, server)
        reading = asyncio.create_task(reply.piece())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        more.set()

        assert await reply.read(10) == b"{}"


async def test_one_who_is_cancelled_as_his_answer_is_whole_cuts_nobody_elses() -> None:
    """His connection may serve another already."""

    class Hasty(Transport):
        def freed(self, connection: Connection) -> None:
            super().freed(connection)
            first.cancel()

    transport = Hasty()
    async with Server(Said([FINE])) as server:
        first = asyncio.create_task(post(transport, server))
        await asyncio.gather(first, return_exceptions=True)
        await body_of(transport, server)

        assert (first.cancelled(), server.connections) == (True, 1)
    await transport.close()


async def test_a_reader_who_stops_stops_the_server(transport: Transport) -> None:
    """At most 128 KiB are held; the rest waits in the sockets, and comes when it is read."""
    size = 64 * 2**20
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    async with Server(Said([head, *[b"x" * 2**20] * 64])) as server:
        reply = await post(transport, server)
        await until(lambda: reply._held > 64 * 1024)
        for _ in range(100):
            await asyncio.sleep(0)

        assert reply._held <= 128 * 1024
        assert server.writers[0].transport.get_write_buffer_size() > 0
        assert len(await reply.read(size)) == size


# --- reaching servers


async def test_a_refused_connection_says_so_without_the_address(transport: Transport) -> None:
    with pytest.raises(ConnectFailed, match="refused") as raised:
        await transport.send("POST", Origin("127.0.0.1", free_port(), tls=False), HEAD, b"{}", PATIENT)

    assert "127.0.0.1" not in str(raised.value)
    assert transport.counts == Counts(0, 0, 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 80, ""])
async def test_a_name_that_leads_nowhere(transport: Transport, host: str) -> None:
    with pytest.raises(ConnectFailed):
        await transport.send("POST", Origin(host, 0, tls=False), HEAD, b"{}", PATIENT)


async def test_the_next_address_is_tried() -> None:
    """And a name is asked for once while its addresses are fresh."""
    asked: list[str] = []

    async def addresses(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        found = [("::1", port, 0, 0), ("127.0.0.1", port)]
        return [(socket.AF_INET6 if len(each) == 4 else socket.AF_INET, 1, 6, "", each) for each in found]

    transport = Transport(lookup=addresses)
    async with Server(Said([FINE], "close")) as server:
        for _ in range(2):
            reply = await transport.send("POST", Origin("two.test", server.port, tls=False), HEAD, b"{}", PATIENT)
            assert await reply.read(10) == b"{}"
            await server.over(1)

    assert asked == ["two.test"]
    await transport.close()


# --- TLS


def certified(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context, with a certificate for *name*, and the client's, which trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name[0].isdigit():
        names = [x509.IPAddress(ipaddress.ip_address(name))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both = folder / "both.pem"
    both.write_bytes(pem + own)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    server.set_alpn_protocols(["http/1.1"])
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_tls_with_a_certificate_that_holds(tmp_path: Path) -> None:
    """Kept alive like any other, one context for all, and a long body both ways."""
    made: list[int] = []
    theirs, ours = certified(tmp_path, "127.0.0.1")

    def context() -> ssl.SSLContext:
        made.append(1)
        return ours

    transport = Transport(tls=context)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(MEGABYTES), MEGABYTES)
    async with Server(Said([answer]), tls=theirs) as server:
        origin = server.origin._replace(tls=True)
        for _ in range(2):
            reply = await transport.send("POST", origin, HEAD, MEGABYTES, PATIENT)
            assert await reply.read(1 << 24) == MEGABYTES

        assert (server.connections, made) == (1, [1])
        assert server.asked[0].endswith(MEGABYTES)
    await transport.close()


@pytest.mark.parametrize("trusted", [True, False], ids=["for another name", "by nobody we trust"])
async def test_tls_with_a_certificate_that_does_not_hold(tmp_path: Path, trusted: bool) -> None:
    theirs, ours = certified(tmp_path, "other.test" if trusted else "127.0.0.1")
    transport = Transport(tls=lambda: ours) if trusted else Transport()
    async with Server(Said([FINE]), tls=theirs) as server:
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await transport.send("POST", server.origin._replace(tls=True), HEAD, b"{}", PATIENT)

        assert server.asked == []
        assert transport.counts == Counts(0, 0, 0)
    await transport.close()


async def test_certificates_are_read_before_a_connection_is_opened() -> None:
    """So that a clock that runs out over them leaves none behind."""
    hold = threading.Event()

    def slow() -> ssl.SSLContext:
        hold.wait(10)
        return ssl.create_default_context()

    transport = Transport(tls=slow)
    async with Server(Said([FINE])) as server:
        with pytest.raises(ConnectTimeout):
            await transport.send(
                "POST", server.origin._replace(tls=True), HEAD, b"{}", PATIENT._replace(connect_s=0.05)
            )
        hold.set()

        assert (server.connections, transport.counts) == (0, Counts(0, 0, 0))
    await transport.close()


async def test_a_server_without_tls(transport: Transport) -> None:
    async with Server(Said([FINE])) as server:
        with pytest.raises(TransportError):
            await transport.send("POST", server.origin._replace(tls=True), HEAD, b"{}", PATIENT._replace(connect_s=0.3))


# --- bounds


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000,
        b"HTTP/1.1 103 Hints\r\nX-A: 1\r\n\r\n" * 8000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-A: 1\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A:" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000,
    ],
    ids=["status line", "header", "name", "interim heads", "trailers", "one trailer", "chunk extension"],
)
async def test_what_is_not_the_body_is_bounded(transport: Transport, sent: bytes) -> None:
    """And an error says nothing of what it was."""
    async with Server(Said([sent])) as server:
        with pytest.raises(BadAnswer) as raised:
            await body_of(transport, server)

        assert "xxx" not in str(raised.value)
