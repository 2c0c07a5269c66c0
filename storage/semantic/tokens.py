"""A text as tokens: words, numbers, symbols that mean something, and literals that are taken as they stand.

Punctuation only parts tokens; how strongly is kept as `gap`. A sign that changes what is asked stays: `C++`, `-5`,
`5!`, `x-y`, `10:30`, `$`, `ls -R`, `!x`, `.env`, `x[0]`, `\\d`, `∪`, and every emoji.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from storage.semantic.lexicon import ACRONYMS

Kind = Literal["word", "number", "symbol", "literal"]


class Gap(IntEnum):
    """What stands between a token and the one before it."""

    NONE = 0
    COMMA = 1
    SENTENCE = 2


class Token(NamedTuple):
    """*text* is in one case, *raw* as it was written. A *literal* (address, path, option, code) means only itself.

    *joined*: by a hyphen to the word before it.
    """

    text: str
    raw: str
    kind: Kind
    gap: Gap = Gap.NONE
    quoted: bool = False
    joined: bool = False


_SAME_SIGNS: Final = str.maketrans(
    {
        "’": "'",
        "‘": "'",
        "´": "'",
        "ʼ": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "−": "-",
        "‐": "-",
        "‑": "-",
        "–": "-",
        "…": ".",
        **{sign: f"^{unicodedata.normalize('NFKC', sign)}" for sign in "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ"},
        **{sign: f" {unicodedata.normalize('NFKC', sign).replace('⁄', '/')}" for sign in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"},
        "÷": "/",
        "×": "*",
        "\u200b": None,
        "\ufeff": None,
        "¿": " ",
        "¡": " ",
    }
)

_TOKEN: Final = re.compile(
    r"""
      (?P<literal>
          (?:https?|ftp)://[^\s<>"']*[\w/] | www\.[^\s<>"']*[\w/]
        | (?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+
        | `[^`]+`
        | (?<!\S)(?:[A-Za-z]:\\|~?/|\.{1,2}/)[\w.\\/-]*\w
        | (?<!\S)--?[A-Za-z][\w-]*
        | \\\w+
      )
    | (?P<number>
          \d+(?:st|nd|rd|th)\b
        | \d{1,4}(?:[-/.]\d{1,2}){2,}(?!\d)
        | \d{1,2}:\d{2}(?::\d{2})?
        | (?<![\w)\]])-(?=\d|\.\d)
        | \d{1,3}(?:[,' ]\d{3})+(?!\d)(?:\.\d+)?
        | \d+(?:[.,]\d+)+
        | (?<![\w.])\.\d+
        | \d+
      )
    | (?P<word>
          [Cc]\+\+ | (?<!\w)[CcFfJj]\#(?!\w) | (?<!\w)\.net\b | (?<!\w)\.NET\b
        | (?<!\w)(?:AB|[A-F]|O)[+-](?!\w)
        | (?:[^\W\d_]\.){2,}
        | [^\W\d]\w*(?:\.[^\W\d]\w+)+
        | [^\W\d]\w*(?:'[^\W\d_]+)*
      )
    | (?P<symbol>
          (?<![^\s(&|=,])[.!:?](?=[^\W\d]) | (?<=\s)\?[?:.](?=\s+\w)
        | [<>!=]=|°\s?[CF]\b|(?<=[\d)])!|(?<=\d):(?=\d)|[-](?=\d)|[+*/=<>^%°$€£¥₹&|~@\#√≤≥≠±]|[()\[\]{}]|-
        | [^\w\s\x00-\x7f] )
    | (?P<gap> [.?!;,:\n"] )
    """,
    re.VERBOSE,
)

_MATHS: Final = frozenset("+*/=<>^")
_EXACT: Final = re.compile(r"[+*/=<>^\[\]{}]|\w\(")
"""Where one of these stands, parentheses mean something."""

_SIGNS_AMONG_MARKS: Final = frozenset("§¶‰‱†‡")
"""What Unicode takes for punctuation and people for a sign."""

_CODE_BLOCK: Final = re.compile(r"```|[;{}]\s*\n|\n[ \t]{2,}\S")
_ELISION: Final = re.compile(r"(?<!\w)'|'(?!\w)")
_HOST: Final = re.compile(r"^(?:\w+://|www\.)[^/]*|^[^/\\]+@.*")
_QUOTED: Final = re.compile(r'"([^"]+)"')
_SINGLE_QUOTED: Final = re.compile(r"(?<!\w)'([^'\n]{1,60})'(?!\w)")


def cleaned(text: str) -> str:
    """*text* with one form for signs that look alike."""
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFKC", text.translate(_SAME_SIGNS)).translate(_SAME_SIGNS).strip()


def is_code(text: str) -> bool:
    """Whether *text* has lines of program in it: there every sign counts."""
    return _CODE_BLOCK.search(text) is not None


def is_latin(text: str) -> bool:
    """Whether nearly all letters are of the Latin script."""
    if text.isascii():
        return True
    letters = [character for character in text if character.isalpha()]
    foreign = sum(1 for letter in letters if ord(letter) > 0x24F and not 0x1E00 <= ord(letter) <= 0x1EFF)
    return foreign * 10 <= len(letters)


def quotations(text: str) -> tuple[str, ...]:
    """What stands between quotation marks in *text*, with every sign."""
    return tuple(_QUOTED.findall(_SINGLE_QUOTED.sub(r'"\1"', text)))


def tokens(text: str) -> list[Token]:
    """The tokens of *text*, which has been `cleaned`."""
    text = _SINGLE_QUOTED.sub(r'"\1"', text)
    maths = any(sign in text for sign in _MATHS)
    exact = _EXACT.search(text) is not None
    found: list[Token] = []
    gap, quoted, negative, joined = Gap.NONE, False, False, False
    for match in _TOKEN.finditer(text):
        kind, raw = match.lastgroup, match.group()
        if kind == "gap":
            gap = max(gap, _gap(raw, text, match.end()))
            quoted ^= raw == '"'
            continue
        if kind == "symbol" and not _means(raw, exact if raw in "()" else maths, text, match.start(), match.end()):
            around = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
            joined = raw == "-" and len(around) == 2 and around.isalnum()
            gap = max(gap, Gap.NONE if joined or not (raw in "()—" or around[:1].isspace()) else Gap.COMMA)
            continue
        if kind == "number" and raw == "-":
            negative = True
            continue
        token = _token(kind, f"-{raw}" if negative else raw, gap, quoted)
        found.append(token._replace(joined=True) if joined else token)
        gap, negative, joined = Gap.NONE, False, False
    return _with_acronyms(found)


def _with_acronyms(found: list[Token]) -> list[Token]:
    """*found* with acronyms in capitals that would else be common words: `US`, `U.S.`, `the us`, but no `US` in a text
    that is all in capitals."""
    if not any(token.text.removesuffix("'s") in ACRONYMS for token in found):
        return found
    shouted = all(token.raw == token.raw.upper() for token in found if token.kind == "word")
    result: list[Token] = []
    for token in found:
        word = token.text.removesuffix("'s")
        raw = token.raw[: len(token.raw) - len(token.text) + len(word)]
        after_the = word == "us" and bool(result) and result[-1].text == "the" and not token.gap
        if token.kind == "word" and word in ACRONYMS and ((raw.isupper() and not shouted) or "." in raw or after_the):
            token = token._replace(text=ACRONYMS[word] + token.text[len(word) :])  # noqa: PLW2901  the same, spelled out
        result.append(token)
    return result


def _gap(sign: str, text: str, end: int) -> Gap:
    if sign in ",:":
        return Gap.COMMA
    if sign == '"':
        return Gap.NONE
    return Gap.SENTENCE if text[end : end + 1].isspace() or sign == "\n" else Gap.COMMA


def _means(sign: str, maths: bool, text: str, start: int, end: int) -> bool:
    """Whether *sign* is more than punctuation where it stands."""
    if sign in "()":
        return maths
    if not sign.isascii() and len(sign) == 1:
        return sign in _SIGNS_AMONG_MARKS or unicodedata.category(sign)[0] == "S"
    if sign == "-":
        before, after = text[max(0, start - 2) : start], text[end : end + 2]
        spaced = before[-1:].isspace() and after[:1].isspace()
        single = re.search(r"(?<!\w)\w$", before) is not None and re.match(r"\w(?!\w)", after) is not None
        return single or (spaced and maths) or (before[-1:].isdigit() and after[:1].isdigit())
    if sign == "/":
        return not (text[start - 1 : start].isalpha() and text[end : end + 1].isalpha())
    return True


def _token(kind: str | None, raw: str, gap: Gap, quoted: bool) -> Token:
    match kind:
        case "literal":
            text = raw.strip("`") if raw[0] == "`" else _HOST.sub(lambda host: host.group().casefold(), raw)
            return Token(text, raw, "literal", gap, quoted)
        case "number":
            return Token(raw.casefold(), raw, "number", gap, quoted)
        case "symbol":
            return Token(raw.replace(" ", "").casefold(), raw, "symbol", gap, quoted)
        case _:
            plain = _ELISION.sub("", raw.casefold())
            if plain.endswith("."):  # U.S., e.g., a.m.
                plain = plain.replace(".", "")
            if len(plain) > 2 and plain[0] == plain[-1] == "_" != plain[1]:  # emphasis
                plain, raw = plain.strip("_"), raw.strip("_")
            return Token(plain, raw, "word", gap, quoted)
