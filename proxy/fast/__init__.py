"""The fast lane: what has been answered before in the careful way goes without what cannot matter to it.

    bytes --> one whole, plain request? --> head known? --> shape known? --> lane: book, send, read, settle, one write
                      |                        |               |               |
                      +------------------------+---------------+---- failed ---+--> aiohttp and the careful way

The careful way (`proxy.pipeline`) is the only one that decides. A *head* (`heads`) is a request's header block, judged
once by the same functions that judge every request. A *shape* (`shapes`) is all of a body but its conversation: when
the careful way has sent such a request on as it came, but for the model's name, the next one of the same shape, with
nothing but words in its conversation, would go the same way; the lane (`lane`) sends it there. A conversation of more
than words is looked at (`conversations`, `suits`). What is a dialect's own has a row (`dialects`). What is not known,
not plain or not well goes on to aiohttp with the very same bytes. An attempt that fails does so, too: the careful way
takes it for its own first one, and goes on from there.

Before shapes are looked at, a request that was a hit of the cache before is answered with the same bytes (`hits`).

Only `lane` touches aiohttp's private fields; tests/proxy/test_fast_lane.py says which, and pyproject.toml pins the
range that was tried. `[server] fast_lane = false` leaves the lane out.
"""
