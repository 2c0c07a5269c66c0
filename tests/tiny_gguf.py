"""A llama.cpp model of a quarter megabyte that says one sentence, made of nothing but arithmetic.

    write_model(path, reply="Hello from here.")     # temperature 0 answers exactly this, then stops
    write_model(path, reply="la", endless=True)      # "lalala..." until max_tokens or the context ends it

How it works: attention and feed-forward weights are zero, so a token's hidden state stays its one-hot embedding, and
the output matrix is a table "this token is followed by that one". A prompt of the template ends with a line end, which
the reply's first token follows. Under a grammar, where the next token of the reply is not allowed, fixed likings
decide: a quote before a closing bracket before anything else, so that every JSON value ends soon.

The tokenizer has the 256 bytes, a token for each piece of the reply and three control tokens, and merges nothing: a
prompt has as many tokens as bytes. The file format is GGUF 3 (ggml-org/ggml, docs/gguf.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% if tools %}<|start|>system\n{{ tools | tojson }}<|end|>\n{% endif %}"
    "{% for message in messages %}<|start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "{% for call in message.tool_calls or [] %}{{ call.function.arguments.city }}{% endfor %}"
    "{% if message.content == 'refuse' %}{{ raise_exception('this template refuses') }}{% endif %}"
    "<|end|>\n{% endfor %}"
    "{{ '<|start|>assistant\n' }}"  # Jinja drops a line end at the end of a template, but not this one.
)
CONTROL = ("<|pad|>", "<|start|>", "<|end|>")
FOLLOWS, LIKED_MOST = 40.0, 8.0
LIKINGS = b'"}]1{[:,tfn'
"""Bytes in the order in which they are preferred where a grammar leaves no reply."""
HEADS, HEAD_SIZE, HIDDEN = 1, 32, 32
F16, F32 = 1, 0
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def write_model(
    path: Path,
    reply: str = "Hello from the tiny model.",
    *,
    endless: bool = False,
    context: int = 2048,
    template: str = TEMPLATE,
) -> Path:
    """Write the model; *reply* is cut into pieces of three and more characters, no two alike."""
    pieces = _pieces(reply)
    tokens = [*(_visible(bytes([value])) for value in range(256)), *map(_visible, pieces), *CONTROL]
    size = -(-len(tokens) // 32) * 32
    end = len(tokens) - 1
    chain = [10, *range(256, 256 + len(pieces))]
    follows = dict(zip(chain, [*chain[1:], chain[1] if endless else end], strict=True))
    tensors = _tensors(len(tokens), size, follows)
    fields: list[tuple[str, int, Any]] = [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "tiny"),
        ("llama.context_length", UINT32, context),
        ("llama.embedding_length", UINT32, size),
        ("llama.block_count", UINT32, 1),
        ("llama.feed_forward_length", UINT32, HIDDEN),
        ("llama.attention.head_count", UINT32, HEADS),
        ("llama.attention.key_length", UINT32, HEAD_SIZE),
        ("llama.attention.value_length", UINT32, HEAD_SIZE),
        ("llama.rope.dimension_count", UINT32, HEAD_SIZE),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-6),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        ("tokenizer.ggml.token_type", ARRAY, (INT32, [1] * (len(tokens) - 3) + [3] * 3)),
        ("tokenizer.ggml.merges", ARRAY, (STRING, [f"{CONTROL[0]} {CONTROL[0]}"])),
        ("tokenizer.ggml.bos_token_id", UINT32, end - 2),
        ("tokenizer.ggml.eos_token_id", UINT32, end),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, template),
    ]
    path.write_bytes(_file(fields, tensors))
    return path


def _pieces(reply: str) -> list[bytes]:
    pieces: list[bytes] = []
    rest = reply.encode()
    while rest:
        size = min(3, len(rest))
        while rest[:size] in pieces and size < len(rest):
            size += 1
        if rest[:size] in pieces or len(rest) - size in (1, 2):
            size = len(rest)
        pieces.append(rest[:size])
        rest = rest[size:]
    if len(set(pieces)) < len(pieces):
        raise ValueError(f"{reply!r} ends with a piece that it has already")
    return pieces


def _visible(piece: bytes) -> str:
    """GPT-2's alphabet: printable bytes as they are, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return "".join(chr(value if value in printable else 256 + others.index(value)) for value in piece)


def _tensors(tokens: int, size: int, follows: dict[int, int]) -> list[tuple[str, tuple[int, ...], int, bytes]]:
    """Name, shape (fastest dimension first), type and bytes of each."""
    # RMS norm makes a one-hot row sqrt(size) long.
    scale = size**0.5
    likings = {byte: LIKED_MOST * (1 - rank / 20) for rank, byte in enumerate(LIKINGS)}
    likings |= {byte: 1.0 - byte / 1000 for byte in b"abcdefghijklmnopqrsuvwxyz"}
    embedding = b"".join(_halves(size, {token: 1.0}) for token in range(tokens))
    output: list[bytes] = []
    for following in range(tokens):
        liking = likings.get(following, 0.0 if following == tokens - 1 else -8.0)
        row = dict.fromkeys(range(tokens), liking / scale)
        row |= {token: FOLLOWS / scale for token, next_token in follows.items() if next_token == following}
        output.append(_halves(size, row))
    heads = HEADS * HEAD_SIZE
    zeros = {
        "attn_q": (size, heads),
        "attn_k": (size, heads),
        "attn_v": (size, heads),
        "attn_output": (heads, size),
        "ffn_gate": (size, HIDDEN),
        "ffn_up": (size, HIDDEN),
        "ffn_down": (HIDDEN, size),
    }
    ones = struct.pack(f"<{size}f", *[1.0] * size)
    return [
        ("token_embd.weight", (size, tokens), F16, embedding),
        ("output_norm.weight", (size,), F32, ones),
        ("output.weight", (size, tokens), F16, b"".join(output)),
        ("blk.0.attn_norm.weight", (size,), F32, ones),
        ("blk.0.ffn_norm.weight", (size,), F32, ones),
        *((f"blk.0.{name}.weight", shape, F16, bytes(2 * shape[0] * shape[1])) for name, shape in zeros.items()),
    ]


def _halves(size: int, values: dict[int, float]) -> bytes:
    return struct.pack(f"<{size}e", *(values.get(position, 0.0) for position in range(size)))


def _file(fields: Sequence[tuple[str, int, Any]], tensors: Sequence[tuple[str, tuple[int, ...], int, bytes]]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    head += b"".join(_string(name) + struct.pack("<I", kind) + _value(kind, value) for name, kind, value in fields)
    body = b""
    for name, shape, kind, content in tensors:
        head += (
            _string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", kind, len(body))
        )
        body += content + bytes(-len(content) % 32)
    return head + bytes(-len(head) % 32) + body


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + _joined(_value(inner, item) for item in items)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _joined(values: Iterable[bytes]) -> bytes:
    return b"".join(values)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
