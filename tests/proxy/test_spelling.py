"""Names in a request: given once, and at the top as they are acted on. Nothing else is sent to a provider."""

from __future__ import annotations

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, bearer, make
from tests.proxy.serving import QUICK, provider, says
from tests.replay import Upstream

CHAT = "/v1/chat/completions"
SAID = '"messages":[{"role":"user","content":"Hi"}]'
CONTENTS = '"contents":[{"parts":[{"text":"Hi"}]}]'

REPEATED = [
    # path, body, the name
    (CHAT, '{"model":"one/m","model":"one/dear",SAID}', "model"),
    (CHAT, '{"model":"one/dear","model":"one/m",SAID}', "model"),
    (CHAT, '{"model": "one/dear", "model" : "one/m", SAID}', "model"),
    (CHAT, '{"model":"one/m",SAID,"mod\\u0065l":"one/dear"}', "model"),
    (CHAT, '{"\\u006Dodel":"one/dear","model":"one/m",SAID}', "model"),
    (CHAT, '{"model":"one/m",SAID,SAID}', "messages"),
    (CHAT, '{"model":"one/m",SAID,"stream":true,"stream":false}', "stream"),
    (CHAT, '{"model":"one/m",SAID,"x_own":1, "x_own":1}', "x_own"),
    (CHAT, '{"model":"one/m",SAID,"\u00e9":1,"\\u00e9":2}', "\u00e9"),
    (CHAT, '{"models":["one/m"],"models":["one/dear"],SAID}', "models"),
    (CHAT, '{"model":"one/m","messages":[{"role":"user","content":"a", "content":"b"}]}', "messages[0].content"),
    (CHAT, '{"model":"one/m",SAID,"modelport":{"route":"a","r\\u006fute":"b"}}', "modelport.route"),
    (CHAT, '{"model":"one/m",SAID,"tools":[{"type":"mcp","server_url":"http://a","server_url":"http://b"}]}',
     "tools[0].server_url"),
    ("/v1beta/models/one%2Fm:generateContent",
     '{CONTENTS,"generationConfig":{"maxOutputTokens":5,"maxOutputTokens":5000}}', "generationConfig.maxOutputTokens"),
    ("/v1/messages", '{"model":"one/m","max_tokens":5,"max_tokens":5000,SAID}', "max_tokens"),
    ("/v1/messages/count_tokens", '{"model":"one/m","model":"one/dear",SAID}', "model"),
    ("/v1/responses", '{"model":"one/m","input":"a","input":"b"}', "input"),
    ("/v1/completions", '{"model":"one/m","prompt":"a","prompt":"b"}', "prompt"),
    ("/v1/embeddings", '{"model":"one/m","input":"a","inpu\\u0074":"b"}', "input"),
    ("/v1beta/models/one%2Fm:generateContent", "{CONTENTS,CONTENTS}", "contents"),
    ("/v1/moderations", '{"model":"one/m","model":"one/dear","input":"a"}', "model"),
    ("/v1/moderations", '{"model":"one/m","mod\\u0065l":"one/dear","input":"a"}', "model"),
]  # fmt: skip

MISSPELLED = [
    (CHAT, '{"model":"one/m","Model":"one/dear",SAID}', "Model", "model"),
    (CHAT, '{"MODEL":"one/dear","model":"one/m",SAID}', "MODEL", "model"),
    (CHAT, '{"model":"one/m","\\u004dodel":"one/dear",SAID}', "Model", "model"),
    (CHAT, '{"model":"one/m","Messages":[],SAID}', "Messages", "messages"),
    (CHAT, '{"model":"one/m","me\u017f\u017fages":[],SAID}', "me\u017f\u017fages", "messages"),
    (CHAT, '{"model":"one/m","Max_Tokens":5000,SAID}', "Max_Tokens", "max_tokens"),
    (CHAT, '{"model":"one/m","Stream":true,SAID}', "Stream", "stream"),
    (CHAT, '{"model":"one/m","Modelport":{},SAID}', "Modelport", "modelport"),
    ("/v1/messages", '{"model":"one/m","System":"x","max_tokens":5,SAID}', "System", "system"),
    ("/v1/responses", '{"model":"one/m","input":"a","Input":"b"}', "Input", "input"),
    ("/v1beta/models/one%2Fm:generateContent", '{"Contents":[],CONTENTS}', "Contents", "contents"),
    (
        "/v1beta/models/one%2Fm:generateContent",
        '{"generationconfig":{},CONTENTS}',
        "generationconfig",
        "generationConfig",
    ),
    ("/v1/moderations", '{"model":"one/m","mODEL":"one/dear","input":"a"}', "mODEL", "model"),
]

FINE = [
    '{"model": "one/m", SAID, "temperature": 1, "metadata": {"model": "x", "Model": "y"}, "stop": "model"}',
    '{"mod\\u0065l":"one/m",SAID}',
    '{"model":"one/m",SAID,"user":"user","x_Own":1,"X_own":2}',
    '{ "model" : "one/m", "user": "user", "messages": [{"role": "user", "content": "{\\"model\\": \\"a\\"}"}] }',
]


def _raw(body: str) -> bytes:
    return body.replace("SAID", SAID).replace("CONTENTS", CONTENTS).encode()


@pytest.mark.parametrize(("path", "body", "name"), REPEATED)
async def test_a_name_that_is_given_twice_is_refused(
    serve: Serve, upstream: Upstream, path: str, body: str, name: str
) -> None:
    """Whichever of the two the key may ask, and however it is spelled."""
    server = await serve(KEYS_ONLY, QUICK, provider("one", upstream, more='models = ["m", "dear"]'))
    key = await make(server, models=["one/m"])
    headers = {**bearer(key["key"]), "content-type": "application/json"}
    reply = await server.request("POST", path, _raw(body), headers)

    assert reply.status == 400, reply.body
    assert f"{name}: given twice" in reply.error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(("path", "body", "name", "meant"), MISSPELLED)
async def test_a_name_that_differs_by_case_from_one_that_is_acted_on_is_refused(
    serve: Serve, upstream: Upstream, path: str, body: str, name: str, meant: str
) -> None:
    server = await serve(KEYS_ONLY, QUICK, provider("one", upstream, more='models = ["m", "dear"]'))
    key = await make(server, models=["one/m"])
    headers = {**bearer(key["key"]), "content-type": "application/json"}
    reply = await server.request("POST", path, _raw(body), headers)

    assert reply.status == 400, reply.body
    assert f"{name}: expected {meant};" in reply.error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("body", FINE)
async def test_other_names_and_words_are_nobodys_business(serve: Serve, upstream: Upstream, body: str) -> None:
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, QUICK, provider("one", upstream))
    key = await make(server, models=["one/m"])
    headers = {**bearer(key["key"]), "content-type": "application/json"}
    reply = await server.request("POST", CHAT, _raw(body), headers)

    assert reply.status == 200, reply.body


@pytest.mark.parametrize("name", ["Input", "messages_", "Prompt"])
async def test_bodies_that_are_passed_on_may_have_names_of_their_own(
    serve: Serve, upstream: Upstream, name: str
) -> None:
    """Only what is acted on there has to be spelled right: paths of vendors that nobody here knows."""
    upstream.script("m", says())
    server = await serve(KEYS_ONLY, QUICK, provider("one", upstream))
    key = await make(server, models=["one/m"])
    headers = {**bearer(key["key"]), "content-type": "application/json"}
    reply = await server.request("POST", "/v1/moderations", b'{"model":"one/m","%b":"a"}' % name.encode(), headers)

    assert reply.status == 200, reply.body
