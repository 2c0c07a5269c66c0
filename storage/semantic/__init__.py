"""The semantic cache's core: a question that means the same as a stored one gets the stored answer.

    text ─▶ tokens ─▶ reading (what a question says, in a form that can be compared)
    reading, reading ─▶ guard (what keeps them apart, or nothing)     ─▶ store (which stored question answers this one)
    reading, reading ─▶ similar (how alike they are)                  ─▶ report (how often that is right)

Words, by language and kind, are tables in `lexicon`. Whatever is not known to be harmless counts as a difference.
"""

from typing import Final

RULES: Final = 3
"""Which rules made a signature. Another number makes stored ones worthless; they are then forgotten."""

MAX_CHARACTERS: Final = 4000
"""A longer text is no question; it is read as None."""
