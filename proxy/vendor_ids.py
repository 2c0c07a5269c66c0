"""The forms of the ids that vendors give to what they keep, and where in JSON they may stand."""

from __future__ import annotations

import re
from typing import Final

_PREFIXES: Final = (
    r"(?:file[-_]|cfile_|batch_|msgbatch_|conv_|resp_|vs_|vsfb_|asst_|thread_|video_|ftjob-|upload_|cntr_|container_"
    r"|skill_|eval_|evalrun_|sess_)"
)
ID: Final = re.compile(_PREFIXES + r"[A-Za-z0-9_-]{6,200}")
"""Forms of ids that vendors give (OpenAI, Anthropic)."""
_QUOTED_ID: Final = re.compile(rb'"' + _PREFIXES.encode() + rb'[A-Za-z0-9_-]{6,200}"')
_HIDDEN: Final = re.compile(rb"\\u00[2-7][0-9a-fA-F]")
"""A plain letter written as an escape, as no serializer does: it may hide an id."""


def may_name(raw: bytes) -> bool:
    """Whether it is worth reading *raw*, JSON, for ids. Two searches: one for either is several times as slow."""
    return _QUOTED_ID.search(raw) is not None or (b"\\u00" in raw and _HIDDEN.search(raw) is not None)
