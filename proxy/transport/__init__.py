"""An HTTP/1.1 client for calls to providers, made for little work per request.

    transport = Transport()
    reply = await transport.send("POST", Origin("127.0.0.1", 8000, tls=False), head, body, Deadlines(head_s=20))
    reply.status, reply.headers, reply.header(b"content-type")
    async for piece in reply: ...          # or: await reply.read(limit)
    reply.close()                          # a hang-up, unless the answer came whole
    await transport.close()

It follows no redirects, keeps no cookies, uses no proxy of the environment and unpacks nothing.
`errors` has the tree of what can go wrong, `pool` the connections, `connection` and `reply` what happens on one.
"""

from proxy.transport.errors import TransportError
from proxy.transport.pool import Counts, Origin, Transport
from proxy.transport.reply import Deadlines, Reply

__all__ = ["Counts", "Deadlines", "Origin", "Reply", "Transport", "TransportError"]
