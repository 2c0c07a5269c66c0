"""The names in a request: each is given once, and at the top level spelled as whoever acts on it spells it.

Bodies are sent on as they came, so that a server which takes the first of two values, or does not tell `Model` from
`model`, would read another request than the one that was checked here: for a budget (`maxOutputTokens`), for the
addresses that a server in one's own network is sent (`server_url`), for the cache and for the request log.
Of a question every name is looked at, however deep it lies: that takes less time than to read it. Of a body that is
passed on unread only what is acted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.errors import refused
from translators.codec import repeated_name

PASSED_ON: Final = frozenset({"model", "modelport", "stream"})
"""What is acted on of a body that is passed on unread. Its other names are the vendor's, and checked for ids."""
ASKED: Final = PASSED_ON | frozenset(
    {
        "background",
        "best_of",
        "cachedContent",
        "contents",
        "conversation",
        "functions",
        "generationConfig",
        "input",
        "instructions",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "models",
        "n",
        "previous_response_id",
        "prompt",
        "store",
        "stream_options",
        "system",
        "systemInstruction",
        "tool_choice",
        "tools",
    }
)
"""What is acted on of a question to a model, in any dialect: what is asked, of whom, and how much it may cost."""
_FOLDED: Final[Mapping[frozenset[str], Mapping[str, str]]] = {
    names: {name.casefold(): name for name in names} for names in (PASSED_ON, ASKED)
}


def check_names(raw: bytes, body: Mapping[str, Any], acted_on: frozenset[str] = ASKED) -> None:
    """Look at the names of *raw*, which says *body*.

    Raises:
        Refused: 400 for one that differs from one of *acted_on* (ASKED or PASSED_ON) by case alone, as Unicode folds
            it, and for one that is given twice, escaped or not; with PASSED_ON that has to be one of these.
    """
    check_repeated(raw, body, PASSED_ON if acted_on is PASSED_ON else None)
    folded = _FOLDED[acted_on]
    for name in body:
        if name not in acted_on and (meant := folded.get(name.casefold())):
            told = f"{name[:200]}: expected {meant}; some servers do not tell them apart, so it is not sent on"
            raise refused(400, told, param=name[:200], code="misspelled_name")


def check_repeated(raw: bytes, body: Mapping[str, Any], among: frozenset[str] | None = None) -> None:
    """Raises Refused, 400, where *raw*, which says *body*, gives a name of *among* (None: any) twice in one object."""
    if (twice := repeated_name(raw, body, among)) is not None:
        told = f"{twice[:200]}: given twice; readers differ on which one counts, so send it once"
        raise refused(400, told, param=twice[:200], code="repeated_name")
