"""What vendors bill, computed by hand from their public price lists: every shape of usage, every tier.

Each line is one answer. It is read whole and streamed by the vendor's own dialect, priced, and priced once more from
the raw usage that the ledger keeps. Rates are US dollars per million tokens, which is thousands of nano-dollars a
token; a thousand searches at 10 dollars are 10,000,000 nano-dollars a search.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from routing.pricing import PriceBook, observed, usage_of_raw
from translators import anthropic, gemini, openai_chat, openai_responses
from translators.assemble import collect
from translators.dialect import Rules
from translators.neutral import Response, Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook()
SEARCH: Final = 10_000_000
Json = dict[str, Any]


def chat(sent: int, made: int, /, *, cached: int = 0, **more: Any) -> Json:
    """A usage object of chat completions; *more* holds details by side, and other fields."""
    prompt, completion = more.pop("prompt", {}), more.pop("completion", {})
    return {
        "prompt_tokens": sent,
        "completion_tokens": made,
        "total_tokens": sent + made,
        "prompt_tokens_details": {"cached_tokens": cached, **prompt},
        "completion_tokens_details": {"reasoning_tokens": 0, **completion},
        **more,
    }


def resp(sent: int, made: int, /, *, cached: int = 0, **more: Any) -> Json:
    """A usage object of the Responses API."""
    inputs, outputs = more.pop("inputs", {}), more.pop("outputs", {})
    return {
        "input_tokens": sent,
        "input_tokens_details": {"cached_tokens": cached, **inputs},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0, **outputs},
        "total_tokens": sent + made,
        **more,
    }


def claude(sent: int, made: int, /, read: int = 0, m5: int = 0, h1: int = 0, **more: Any) -> Json:
    """A usage object of Anthropic: what the cache gives and takes stands beside the input."""
    return {
        "input_tokens": sent,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": m5 + h1,
        "cache_creation": {"ephemeral_5m_input_tokens": m5, "ephemeral_1h_input_tokens": h1},
        "output_tokens": made,
        "service_tier": "standard",
        "inference_geo": "global",
        **more,
    }


def google(sent: int, made: int, /, thoughts: int = 0, **more: Any) -> Json:
    """usageMetadata; a count that is 0 is absent, as Gemini has it."""
    total = sent + made + thoughts + more.get("toolUsePromptTokenCount", 0)
    counts = {"promptTokenCount": sent, "candidatesTokenCount": made, "thoughtsTokenCount": thoughts}
    return {**{name: n for name, n in counts.items() if n}, "totalTokenCount": total, **more}


def modality(**tokens: int) -> list[Json]:
    return [{"modality": name.upper(), "tokenCount": n} for name, n in tokens.items()]


def advice(model: str, sent: int, made: int) -> Json:
    """Another model that was asked on the way (Anthropic's advisor)."""
    counts = {"input_tokens": sent, "output_tokens": made, "cache_read_input_tokens": 0}
    return {"type": "advisor_message", "model": model, "cache_creation_input_tokens": 0, **counts}


def call(kind: str, **action: Any) -> Json:
    return {"type": kind, "id": f"{kind}_1", "status": "completed", "action": action}


COMPACTION = {
    "type": "compaction", "input_tokens": 1000, "output_tokens": 50,
    "cache_read_input_tokens": 200, "cache_creation_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
}  # fmt: skip
FLEX, PRIORITY, BATCH, FAST = ({"service_tier": tier} for tier in ("flex", "priority", "batch", "fast"))
TTL = {"cache_write_tokens": 300, "cache_write_tokens_details": {"ttl_30m_tokens": 300, "ttl_12h_tokens": 0}}
HALF_DAY = {"cache_write_tokens": 300, "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200}}
UPSTREAM = {"upstream_inference_cost": 0.002}
COUNTS = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")
NONE: Final[Json] = {}

BILLS: Final[list[tuple[str, str, Json, Json, int | None]]] = [
    # --- OpenAI chat completions: https://developers.openai.com/api/docs/pricing, read 2026-10-14
    # gpt-5.2: 1.75 in, 0.175 cached, 14 out; half in flex and batch, double in priority and fast
    ("openai", "gpt-5.2", chat(1000, 200), NONE, 1000 * 1750 + 200 * 14_000),
    ("openai", "gpt-5.2", chat(2000, 100, cached=1024), NONE, 976 * 1750 + 1024 * 175 + 100 * 14_000),
    ("openai", "gpt-5.2", chat(1000, 500, completion={"reasoning_tokens": 448}), NONE, 1_750_000 + 500 * 14_000),
    ("openai", "gpt-5.2", chat(1000, 200), {"service_tier": "default"}, 1000 * 1750 + 200 * 14_000),
    ("openai", "gpt-5.2", chat(1000, 200), FLEX, 1000 * 875 + 200 * 7000),
    ("openai", "gpt-5.2", chat(2000, 100, cached=1000), FLEX, 1000 * 875 + 1000 * 87 + 500 * 1 + 100 * 7000),
    ("openai", "gpt-5.2", chat(1000, 200), PRIORITY, 1000 * 3500 + 200 * 28_000),
    ("openai", "gpt-5.2", chat(1000, 200, cached=500), FAST, 500 * 3500 + 500 * 350 + 200 * 28_000),
    ("openai", "gpt-5.2", chat(1000, 200), BATCH, 1000 * 875 + 200 * 7000),
    # gpt-4o: 2.50 in, 1.25 cached, 10 out; priority 4.25, 2.125, 17; batch halves all but cached input
    ("openai", "gpt-4o", chat(1000, 100, cached=400), NONE, 600 * 2500 + 400 * 1250 + 100 * 10_000),
    ("openai", "gpt-4o", chat(1000, 100, cached=400), PRIORITY, 600 * 4250 + 400 * 2125 + 100 * 17_000),
    ("openai", "gpt-4o", chat(1000, 100, cached=400), BATCH, 600 * 1250 + 400 * 1250 + 100 * 5000),
    # a model without flex rates: never less than the standard; without priority rates: unknown
    ("openai", "gpt-4o", chat(1000, 100), FLEX, 1000 * 2500 + 100 * 10_000),
    ("openai", "gpt-audio", chat(1000, 100), PRIORITY, None),
    # gpt-audio: 2.50 and 10 for text, 32 and 64 for sounds
    ("openai", "gpt-audio", chat(300, 90, prompt={"audio_tokens": 200}, completion={"audio_tokens": 70}), NONE,
     100 * 2500 + 200 * 32_000 + 20 * 10_000 + 70 * 64_000),
    # predictions that were not used are output all the same, and within completion_tokens
    ("openai", "gpt-4o", chat(100, 80, completion={"rejected_prediction_tokens": 30}), NONE, 250_000 + 800_000),
    # gpt-5-mini: 0.25, 0.025, 2
    ("openai", "gpt-5-mini", chat(4000, 1000, cached=3000), NONE, 1000 * 250 + 3000 * 25 + 1000 * 2000),
    # --- OpenAI Responses, same list
    # gpt-5.6-sol since 2026-08-21: 4 in, 0.40 cached, 5 written, 20 out; 8, 0.80, 10, 30 above 272,000 tokens
    ("openai/r", "gpt-5.6-sol", resp(1000, 100, cached=400), NONE, 600 * 4000 + 400 * 400 + 100 * 20_000),
    ("openai/r", "gpt-5.6-sol", resp(1000, 100, inputs=TTL), NONE, 700 * 4000 + 300 * 5000 + 100 * 20_000),
    ("openai/r", "gpt-5.6-sol", resp(1000, 100, inputs=HALF_DAY), NONE, None),
    ("openai/r", "gpt-5.6-sol", resp(272_000, 10), NONE, 272_000 * 4000 + 10 * 20_000),
    ("openai/r", "gpt-5.6-sol", resp(272_001, 10), NONE, 272_001 * 8000 + 10 * 30_000),
    ("openai/r", "gpt-5.6-sol", resp(300_000, 10, cached=299_000), NONE, 1000 * 8000 + 299_000 * 800 + 10 * 30_000),
    ("openai/r", "gpt-5.6-sol", resp(1000, 100), FLEX, 1000 * 2000 + 100 * 10_000),
    ("openai/r", "gpt-5.6-sol", resp(1000, 100, cached=400), PRIORITY, 600 * 8000 + 400 * 800 + 100 * 40_000),
    ("openai/r", "gpt-5.6-sol", resp(300_000, 100), FLEX, 300_000 * 4000 + 100 * 15_000),
    ("openai/r", "gpt-5.6-sol", resp(1000, 100, inputs=TTL), BATCH, 700 * 2000 + 300 * 2500 + 100 * 10_000),
    ("openai/r", "o3", resp(500, 900, outputs={"reasoning_tokens": 832}), NONE, 500 * 2000 + 900 * 8000),
    ("openai/r", "o3", resp(500, 900), FLEX, 500 * 1000 + 900 * 4000),
    # searches of the web at 10 per thousand, of files at 2.50; a page that is opened is no search
    ("openai/r", "gpt-5", resp(1000, 10), {"output": [call("web_search_call", type="search")]},
     1000 * 1250 + 10 * 10_000 + SEARCH),
    ("openai/r", "gpt-5", resp(1000, 10), {"output": [call("web_search_call", type="open_page", url="http://x")]},
     1000 * 1250 + 10 * 10_000),
    ("openai/r", "gpt-5", resp(1000, 10), {"output": [call("file_search_call"), call("web_search_call")]},
     1000 * 1250 + 10 * 10_000 + 2_500_000 + SEARCH),
    # --- Anthropic: https://platform.claude.com/docs/en/about-claude/pricing, read 2026-10-14
    # claude-opus-5: 5 in, 0.50 read, 6.25 written for 5 minutes, 10 for an hour, 25 out
    ("anthropic", "claude-opus-5", claude(1000, 200), NONE, 1000 * 5000 + 200 * 25_000),
    ("anthropic", "claude-opus-5", claude(100, 0, read=600), NONE, 100 * 5000 + 600 * 500),
    ("anthropic", "claude-opus-5", claude(100, 50, m5=400), NONE, 100 * 5000 + 400 * 6250 + 50 * 25_000),
    ("anthropic", "claude-opus-5", claude(100, 50, h1=400), NONE, 100 * 5000 + 400 * 10_000 + 50 * 25_000),
    ("anthropic", "claude-opus-5", claude(100, 50, 600, 300, 200), NONE,
     100 * 5000 + 600 * 500 + 300 * 6250 + 200 * 10_000 + 50 * 25_000),
    ("anthropic", "claude-opus-5", claude(100, 500, output_tokens_details={"thinking_tokens": 450}), NONE,
     100 * 5000 + 500 * 25_000),
    # fast: 10 and 50, the cache in proportion; batch: half; in the United States: 1.1 times
    ("anthropic", "claude-opus-5", claude(1000, 200, read=100, speed="fast"), NONE,
     1000 * 10_000 + 100 * 1000 + 200 * 50_000),
    ("anthropic", "claude-opus-5", claude(1000, 200, h1=100, service_tier="batch"), NONE,
     1000 * 2500 + 100 * 5000 + 200 * 12_500),
    ("anthropic", "claude-opus-5", claude(1000, 200, read=100, inference_geo="us"), NONE,
     1000 * 5500 + 100 * 550 + 200 * 27_500),
    ("anthropic", "claude-opus-5", claude(1000, 200, speed="fast", inference_geo="us"), NONE,
     1000 * 11_000 + 200 * 55_000),
    ("anthropic", "claude-haiku-4-5", claude(1000, 200, speed="fast"), NONE, None),
    ("anthropic", "claude-opus-5", claude(1000, 200, service_tier="priority"), NONE, 1000 * 5000 + 200 * 25_000),
    ("anthropic", "claude-opus-5", claude(100, 10, server_tool_use={"web_search_requests": 3}), NONE,
     100 * 5000 + 10 * 25_000 + 3 * SEARCH),
    ("anthropic", "claude-opus-5", claude(100, 10, server_tool_use={"web_fetch_requests": 3}), NONE, 750_000),
    # compaction and advice are billed beside what the top-level counts say
    ("anthropic", "claude-opus-5", claude(100, 10, iterations=[COMPACTION]), NONE,
     (100 + 1000) * 5000 + 200 * 500 + 100 * 6250 + (10 + 50) * 25_000),
    ("anthropic", "claude-haiku-4-5", claude(100, 10, iterations=[advice("claude-opus-5", 500, 300)]), NONE,
     100 * 1000 + 10 * 5000 + 500 * 5000 + 300 * 25_000),
    # claude-sonnet-4-5: 3 and 15 up to 200,000 tokens of input, cache included; 6 and 22.50 above
    ("anthropic", "claude-sonnet-4-5", claude(200_000, 10), NONE, 200_000 * 3000 + 10 * 15_000),
    ("anthropic", "claude-sonnet-4-5", claude(1, 10, read=200_000), NONE, 1 * 6000 + 200_000 * 600 + 10 * 22_500),
    ("anthropic", "claude-sonnet-4-5", claude(1, 10, m5=150_000, h1=60_000), NONE,
     1 * 6000 + 150_000 * 7500 + 60_000 * 12_000 + 10 * 22_500),
    ("anthropic", "claude-haiku-4-5", claude(1000, 100, m5=50), NONE, 1000 * 1000 + 50 * 1250 + 100 * 5000),
    # --- Gemini: https://ai.google.dev/gemini-api/docs/pricing, read 2026-10-14
    # gemini-2.5-pro: 1.25 in, 0.125 cached, 10 out; 2.50, 0.25 and 15 above 200,000 tokens of prompt
    ("gemini", "gemini-2.5-pro", google(1000, 100), NONE, 1000 * 1250 + 100 * 10_000),
    ("gemini", "gemini-2.5-pro", google(1000, 100, 400), NONE, 1000 * 1250 + 500 * 10_000),
    ("gemini", "gemini-2.5-pro", google(1000, 0, 400), NONE, 1000 * 1250 + 400 * 10_000),
    ("gemini", "gemini-2.5-pro", google(1000, 100, cachedContentTokenCount=800), NONE,
     200 * 1250 + 800 * 125 + 100 * 10_000),
    ("gemini", "gemini-2.5-pro", google(200_000, 100), NONE, 200_000 * 1250 + 100 * 10_000),
    ("gemini", "gemini-2.5-pro", google(200_001, 100, 100), NONE, 200_001 * 2500 + 200 * 15_000),
    ("gemini", "gemini-2.5-pro", google(250_000, 1, cachedContentTokenCount=240_000), NONE,
     10_000 * 2500 + 240_000 * 250 + 15_000),
    ("gemini", "gemini-2.5-pro", google(1000, 100, toolUsePromptTokenCount=300), NONE, 1300 * 1250 + 100 * 10_000),
    # gemini-2.5-flash: 0.30 in, 1.00 sounds, 0.03 cached, 0.10 cached sounds, 2.50 out
    ("gemini", "gemini-2.5-flash", google(1000, 10, promptTokensDetails=modality(text=600, audio=400)), NONE,
     600 * 300 + 400 * 1000 + 10 * 2500),
    ("gemini", "gemini-2.5-flash", google(1000, 10, cachedContentTokenCount=700,
     promptTokensDetails=modality(text=400, audio=600), cacheTokensDetails=modality(text=200, audio=500)), NONE,
     200 * 300 + 100 * 1000 + 200 * 30 + 500 * 100 + 10 * 2500),
    ("gemini", "gemini-2.5-flash", google(1000, 10, promptTokensDetails=modality(text=742, image=258)), NONE,
     1000 * 300 + 10 * 2500),
    ("gemini", "gemini-2.5-flash", google(1000, 10, serviceTier="standard"), NONE, 1000 * 300 + 10 * 2500),
    ("gemini", "gemini-2.5-flash", google(1000, 10, serviceTier="priority"), NONE, None),
    # gemini-2.5-flash-image: a picture of the answer is 1290 tokens at 30
    ("gemini", "gemini-2.5-flash-image", google(10, 1300, candidatesTokensDetails=modality(image=1290)), NONE,
     10 * 300 + 10 * 2500 + 1290 * 30_000),
    # gemini-3.8-flash-tts in 2026: 0.50 and 9; flex half, priority 1.8 times
    ("gemini", "gemini-3.8-flash-tts", google(100, 900, serviceTier="flex"), NONE, 100 * 250 + 900 * 4500),
    ("gemini", "gemini-3.8-flash-tts", google(100, 900, serviceTier="priority"), NONE, 100 * 900 + 900 * 16_200),
    ("vertex", "gemini-3.8-flash-tts", google(100, 900, trafficType="ON_DEMAND_FLEX"), NONE, 100 * 250 + 900 * 4500),
    ("vertex", "gemini-2.5-pro", google(1000, 100, trafficType="ON_DEMAND"), NONE, 1000 * 1250 + 100 * 10_000),
    # --- DeepSeek: 0.27, 0.07 and 1.10 by day, half of it from 16:30 to 0:30 UTC (tests below); hits within the prompt
    ("deepseek", "deepseek-chat", chat(1000, 100, prompt_cache_hit_tokens=640, prompt_cache_miss_tokens=360), NONE,
     360 * 270 + 640 * 70 + 100 * 1100),
    ("deepseek", "deepseek-reasoner", chat(1000, 100, completion={"reasoning_tokens": 60}), NONE,
     1000 * 550 + 100 * 2190),
    # --- Groq, read 2026-10: gpt-oss-120b 0.15, 0.075, 0.60; batch half, but no less for cached input
    ("groq", "openai/gpt-oss-120b", chat(1000, 100, cached=512, queue_time=0.02), {"service_tier": "on_demand"},
     488 * 150 + 512 * 75 + 100 * 600),
    ("groq", "openai/gpt-oss-120b", chat(1000, 100, cached=512), BATCH, 1000 * 75 + 100 * 300),
    ("groq", "llama-3.3-70b-versatile", chat(1000, 100), NONE, 1000 * 590 + 100 * 790),
    # --- Mistral: small 0.15, 0.015, 0.60 since 2026-03-16; more cached than sent is cut
    ("mistral", "mistral-small-latest", chat(1000, 100, cached=900), NONE, 100 * 150 + 900 * 15 + 100 * 600),
    ("mistral", "mistral-small-latest", chat(100, 100, num_cached_tokens=120), NONE, 100 * 15 + 100 * 600),
    ("mistral", "mistral-large-latest", chat(1000, 100, service_tier="default"), NONE, 1000 * 2000 + 100 * 6000),
    # --- xAI: grok-4 3, 0.75, 15
    ("xai", "grok-4", chat(1000, 500, cached=700, completion={"reasoning_tokens": 300}), NONE,
     300 * 3000 + 700 * 750 + 500 * 15_000),
    ("xai/r", "grok-4", resp(1000, 500, cached=700, cost_in_usd_ticks=99), NONE, 300 * 3000 + 700 * 750 + 500 * 15_000),
    ("xai/r", "grok-of-tomorrow", resp(1000, 500, cost_in_usd_ticks=89_250_000), NONE, 8_925_000),
    # --- Cohere through its OpenAI-compatible endpoint: command-a 2.50 and 10
    ("cohere", "command-a-03-2025", chat(1000, 100), NONE, 1000 * 2500 + 100 * 10_000),
    # --- OpenRouter: its price list by model; its own `cost` where that has none
    ("openrouter", "openai/gpt-5.2", chat(1000, 100, cached=600, cost=0.5), NONE,
     400 * 1750 + 600 * 175 + 100 * 14_000),
    ("openrouter", "nobody/knows", chat(1000, 100, cost=0.00123), NONE, 1_230_000),
    ("openrouter", "nobody/knows", chat(1000, 100, cost=0), NONE, 0),
    ("openrouter", "nobody/knows", chat(9, 9, cost=0.0001, is_byok=True, cost_details=UPSTREAM),
     NONE, 100_000 + 2_000_000),
    ("openrouter", "nobody/knows", chat(9, 9, cost=0.002, is_byok=False, cost_details=UPSTREAM),
     NONE, 2_000_000),
    ("openrouter", "nobody/knows", chat(1000, 100, cost=-1), NONE, None),
    # --- Perplexity: sonar 1 and 1, and 12 per thousand requests; deep research by its parts
    ("perplexity", "sonar", chat(100, 50, num_search_queries=4), NONE, 100 * 1000 + 50 * 1000 + 12_000_000),
    ("perplexity", "sonar-deep-research", chat(100, 50, citation_tokens=30, num_search_queries=7, reasoning_tokens=20),
     NONE, 100 * 2000 + 30 * 8000 + 20 * 3000 + 30 * 2000 + 7 * 5_000_000),
    ("perplexity", "sonar-of-tomorrow", chat(9, 9, cost={"total_cost": 0.006, "request_cost": 0.005}), NONE, 6_000_000),
    # --- others with cached tokens at the top level
    ("moonshot", "kimi-k2-thinking", chat(1000, 100, cached_tokens=600), NONE, 400 * 600 + 600 * 150 + 100 * 2500),
    ("zai", "glm-4.6", chat(1000, 100, cached=600), NONE, 400 * 600 + 600 * 110 + 100 * 2200),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", chat(1000, 100), NONE, 1100 * 880),
    ("cerebras", "gpt-oss-120b", chat(1000, 100), NONE, 1000 * 350 + 100 * 750),
    # a server of one's own is not believed, whatever it says
    ("corner", "m", chat(9, 9, cost=1.0), NONE, None),
]  # fmt: skip


def sse(*events: Mapping[str, Any], named: bool = False) -> bytes:
    lines = [(f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join(lines).encode()


def chat_forms(usage: Json, more: Json) -> tuple[Response, Response]:
    head = {"id": "c", "created": 1, "model": "m", **more}
    message = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    whole = openai_chat.parse_response({**head, "object": "chat.completion", "choices": [message], "usage": usage})
    head["object"] = "chat.completion.chunk"
    parser = openai_chat.StreamParser(Rules())
    stream = sse(
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x"}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": usage},
    )
    return whole, collect([*parser.feed(stream + b"data: [DONE]\n\n"), *parser.close()])


def responses_forms(usage: Json, more: Json) -> tuple[Response, Response]:
    said = {"type": "output_text", "text": "x", "annotations": []}
    text = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]}
    items = [*more.get("output", []), text]
    body = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", **more}
    body |= {"output": items, "usage": usage}
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    events: list[Json] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(items):
        place = {"output_index": index, "item_id": item["id"], "content_index": 0}
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "content": []}})
        if item is text:
            events.append({"type": "response.content_part.added", **place, "part": {**said, "text": ""}})
            events.append({"type": "response.output_text.delta", **place, "delta": "x"})
            events.append({"type": "response.output_text.done", **place, "text": "x"})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": body})
    parser = openai_responses.StreamParser(Rules())
    whole = openai_responses.parse_response(body)
    return whole, collect([*parser.feed(sse(*events, named=True)), *parser.close()])


def anthropic_forms(usage: Json, more: Json) -> tuple[Response, Response]:
    text = {"type": "text", "text": "x"}
    body = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [text], **more}
    whole = anthropic.parse_response({**body, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})
    begun = {**body, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1, "iterations": None}}
    parser = anthropic.StreamParser(Rules())
    stream = sse(
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_stop", "index": 0},
        # Cumulative: what stands here replaces what message_start said, it is not added.
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
        named=True,
    )
    return whole, collect([*parser.feed(stream), *parser.close()])


def gemini_forms(usage: Json, more: Json) -> tuple[Response, Response]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": "x"}]}}
    whole = gemini.parse_response(
        {"candidates": [{**candidate, "finishReason": "STOP"}], "usageMetadata": usage, **more}
    )
    so_far = {name: min(count, 1) for name, count in usage.items() if name in COUNTS}
    parser = gemini.StreamParser(Rules())
    stream = sse(
        {"candidates": [candidate], "usageMetadata": so_far},
        {"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": usage},
    )
    return whole, collect([*parser.feed(stream), *parser.close()])


FORMS: Final[Mapping[str, Callable[[Json, Json], tuple[Response, Response]]]] = {
    "anthropic": anthropic_forms,
    "gemini": gemini_forms,
    "vertex": gemini_forms,
}


@pytest.mark.parametrize(("vendor", "model", "usage", "more", "nanousd"), BILLS)
def test_a_bill_is_the_vendors_to_the_nano_dollar(
    vendor: str, model: str, usage: Json, more: Json, nanousd: int | None
) -> None:
    provider, _, api = vendor.partition("/")
    forms = responses_forms if api else FORMS.get(provider, chat_forms)
    for response in forms(usage, more):
        assert response.usage is not None
        used = observed(response.usage, response)
        cost = BOOK.cost(provider, model, used, AT)
        again = usage_of_raw(used.raw)

        assert (cost and cost.nanousd) == nanousd
        assert again is not None
        assert again == used
        if cost is not None:
            assert BOOK.recompute(row(provider, model, used, cost.source, cost.version), None) == cost


def row(provider: str, model: str, usage: Usage, source: str | None, version: str | None) -> Json:
    """The attempt as the ledger keeps it."""
    counts = {
        name: getattr(usage, name)
        for name in (
            "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
        )
    }  # fmt: skip
    us = int(AT.timestamp() * 1_000_000)
    return {
        "provider": provider, "model": model, "started_us": us, "ended_us": us, **counts,
        "raw_usage": json.dumps(usage.raw), "estimated": 0, "price_source": source, "price_version": version,
    }  # fmt: skip


def test_the_table_is_large_enough_to_be_one() -> None:
    assert len(BILLS) >= 90
    assert len({vendor.partition("/")[0] for vendor, *_ in BILLS}) >= 14


@pytest.mark.parametrize(("hour", "nanousd"), [(0, 235_000), (1, 470_000), (16, 470_000), (17, 235_000)])
def test_deepseek_is_cheaper_by_night(hour: int, nanousd: int) -> None:
    """1000 in and 200 out: 0.27 and 1.10 from 0:30 to 16:30 UTC, else 0.135 and 0.55."""
    at = datetime(2026, 11, 21, hour, 15, tzinfo=UTC)
    usage = Usage(1000, 200)
    cost = BOOK.cost("deepseek", "deepseek-chat", usage, at)

    assert cost
    assert cost.nanousd == {235_000: 1000 * 135 + 200 * 550, 470_000: 1000 * 270 + 200 * 1100}[nanousd]


@pytest.mark.parametrize(
    ("provider", "model", "raw", "nanousd"),
    [
        # Calls that are passed on as they are: what their usage tells, priced; what it does not tell, unknown.
        ("openai", "text-embedding-3-small", {"prompt_tokens": 1000, "total_tokens": 1000}, 1000 * 20),
        ("voyage", "voyage-3.5", {"total_tokens": 1000}, 1000 * 60),
        # gpt-image-1.5: 5 for text, 8 for pictures sent, 32 for pictures made, 10 for text made
        ("openai", "gpt-image-1.5", {
            "input_tokens": 150, "output_tokens": 1070, "total_tokens": 1220,
            "input_tokens_details": {"text_tokens": 50, "image_tokens": 100},
            "output_tokens_details": {"image_tokens": 1056, "text_tokens": 14},
        }, 50 * 5000 + 100 * 8000 + 1056 * 32_000 + 14 * 10_000),
        # gpt-4o-transcribe: 2.50 text, 6 sounds, 10 out; whisper-1: 0.36 an hour
        ("openai", "gpt-4o-transcribe", {
            "type": "tokens", "input_tokens": 214, "output_tokens": 32, "total_tokens": 246,
            "input_token_details": {"text_tokens": 14, "audio_tokens": 200},
        }, 14 * 2500 + 200 * 6000 + 32 * 10_000),
        ("openai", "whisper-1", {"type": "duration", "seconds": 90}, 9_000_000),
        ("openai", "whisper-1", {"type": "duration", "seconds": 12.5}, 1_250_000),
        ("mistral", "mistral-ocr-4-1", {"pages_processed": 25, "doc_size_bytes": 9}, 25 * 4_000_000),
        ("openai", "tts-1", {"characters": 1200}, 1200 * 15_000),
        ("cohere", "command-a-03-2025", {
            "billed_units": {"input_tokens": 100, "output_tokens": 10},
            "tokens": {"input_tokens": 160, "output_tokens": 12},
        }, 100 * 2500 + 10 * 10_000),
        ("cohere", "rerank-v3.5", {"billed_units": {"search_units": 1}}, None),
        ("openai", "omni-moderation-latest", {"total_tokens": 5}, None),
    ],
)  # fmt: skip
def test_other_calls_are_priced_where_their_usage_tells(
    provider: str, model: str, raw: Json, nanousd: int | None
) -> None:
    usage = usage_of_raw(raw)
    assert usage is not None
    cost = BOOK.cost(provider, model, usage, AT)

    assert (cost and cost.nanousd) == nanousd


@pytest.mark.parametrize("raw", [{}, {"prompt_tokens": -1}, {"input_tokens": "many"}, {"speed": "fast"}])
def test_what_cannot_be_a_usage_is_none(raw: Json) -> None:
    assert usage_of_raw(raw) is None
