"""English questions: `read_english(tokens)`.

    expand     what's -> what is, don't -> do not, colour -> color
    unwrap     could you please tell me ... thanks -> ...
    level      how do I, how can you, how to -> howto; France's capital -> capital of france; twenty -> 20
    sort       articles go, question words and helpers become the kind, the rest are the words, in order

The place of a question word or a helper matters only where there are several clauses; there they stay among the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from storage.semantic import lexicon
from storage.semantic.lexicon import Phrase
from storage.semantic.numerals import with_numbers
from storage.semantic.parts import Parts
from storage.semantic.tokens import Gap, Kind, Token

_OWNER: Final = "'s"
_SAME_MODAL: Final[Mapping[str, str]] = {"could": "can", "may": "can", "shall": "should"}
_JOINS: Final = frozenset({"of", "and", "or", "than", "vs", "but", "as", "that"})
ASKED_HOW: Final[Mapping[str, tuple[str, ...]]] = {
    f"{word}to{person}": (f"{word}to", person) if person else (f"{word}to",)
    for word in ("how", "where")
    for person in ("", "_i", "_you")
}
"""The words that `how do I` and its like become, and what each says of the kind."""

_HELPERS: Final = lexicon.BE | lexicon.MODALS | lexicon.DO | lexicon.PAST.keys() | {"have", "had", "exactly"}
_STARTS: Final = lexicon.REQUESTS | lexicon.BE | lexicon.DO | lexicon.PAST.keys() | lexicon.MODALS
"""After "tell me:" these begin a question or a request of their own."""

_HOLDS_ARTICLE: Final = lexicon.PREPOSITIONS | _JOINS | _HELPERS
_AFTER_GREETING: Final = lexicon.POLITE | lexicon.QUESTION_WORDS | lexicon.MODALS | {"there", "i"}
_SPOKEN_OF: Final = frozenset(
    {"say", "word", "words", "mean", "means", "translate", "spell", "pronounce", "write", "type", "phrase", "of", "to"}
)
"""After these, "please" and "thanks" are what is asked about."""


def read_english(found: list[Token]) -> Parts:
    """What an English question says."""
    words = _respelled(_with_owners(_replaced(found, lexicon.CONTRACTIONS)))
    told, words = _unwrapped(words)
    words = with_numbers(_replaced(words, lexicon.PHRASES), "en")
    words = _asking_how(_without_trifles(words))
    sorting = _Sorting(_is_simple(words))
    for before, word, after in zip((None, *words), words, (*words[1:], None), strict=False):
        sorting.take(before, word, after)
    return sorting.parts(told, words)


# --- expand -------------------------------------------------------------------------------------------


def _replaced(found: list[Token], table: Mapping[str, tuple[tuple[Phrase, Phrase], ...]]) -> list[Token]:
    """*found* with each phrase of *table* exchanged for what it means."""
    result: list[Token] = []
    position = 0
    while position < len(found):
        first = found[position]
        match = _match(found, position, table) if first.text in table else None
        if match is None:
            result.append(first)
            position += 1
            continue
        taken, meant = match
        for number, text in enumerate(meant):
            kind: Kind = "number" if text.isdigit() else "word"
            result.append(Token(text, text, kind, first.gap if number == 0 else Gap.NONE))
        position += taken
    return result


def _respelled(found: list[Token]) -> list[Token]:
    spellings = lexicon.SPELLINGS
    moves_on = not any(token.text in lexicon.CONVERTS for token in found)  # "run into" is not "run to"
    return [
        token._replace(text=spellings[token.text])
        if token.text in spellings and not token.quoted and not (moves_on and token.text == "into")
        else token
        for token in found
    ]


def _match(
    found: list[Token], position: int, table: Mapping[str, tuple[tuple[Phrase, Phrase], ...]]
) -> tuple[int, Phrase] | None:
    """How many tokens from *position* on are a phrase of *table*, and what it means."""
    first = found[position]
    if first.quoted or first.kind == "literal":
        return None
    for phrase, meant in table.get(first.text, ()):
        rest = found[position + 1 : position + len(phrase)]
        if len(rest) + 1 == len(phrase) and all(
            token.text == word and token.gap == Gap.NONE and not token.quoted
            for token, word in zip(rest, phrase[1:], strict=True)
        ):
            return len(phrase), meant
    return None


def _with_owners(found: list[Token]) -> list[Token]:
    """`France's` as two tokens, and the `s` of a lost apostrophe as the second."""
    result: list[Token] = []
    for token in found:
        if token.kind != "word" or token.quoted:
            result.append(token)
        elif token.text.endswith("'s") and len(token.text) > 2:
            result += [token._replace(text=token.text[:-2], raw=token.raw[:-2]), Token(_OWNER, _OWNER, "word")]
        elif token.raw == "s" and result and token.gap == Gap.NONE and result[-1].kind == "word":
            result.append(Token(_OWNER, _OWNER, "word"))
        else:
            result.append(token._replace(text=token.text.replace("'", "")) if "'" in token.text else token)
    return result


# --- unwrap -------------------------------------------------------------------------------------------


def _unwrapped(words: list[Token]) -> tuple[bool, list[Token]]:
    """*words* without greeting, politeness and "could you tell me"; whether they were something to be told."""
    told = False
    while True:
        shorter = _without_lead(_without_farewell(words))
        match = _match(shorter, 0, lexicon.FRAMES) if shorter else None
        if match is not None and match[0] < len(shorter) and _may_unwrap(shorter, match):
            taken, meant = match
            rest = shorter[taken:]
            if meant == ("tellme",):
                told = told or rest[0].text not in _STARTS
                rest = rest[1:] if len(rest) > 2 and rest[0].text in ("if", "whether") else rest
                meant = ()
            shorter = [Token(text, text, "word") for text in meant] + rest
            if not meant:
                shorter[0] = shorter[0]._replace(gap=Gap.NONE)
        if not shorter or len(shorter) == len(words):
            return told, words
        words = shorter


def _may_unwrap(words: list[Token], match: tuple[int, Phrase]) -> bool:
    """Whether a question is wrapped: by "tell me who" and "tell me the", not by "tell me a" or "do you know Java"."""
    taken, meant = match
    if meant != ("tellme",):
        return True
    following = words[taken]
    if following.gap and following.text in _STARTS:
        return True
    return following.text in lexicon.QUESTION_WORDS | {"the", "if", "whether", "please"}


def _without_lead(words: list[Token]) -> list[Token]:
    if len(words) < 3:
        return words
    first, second = words[0], words[1]
    if first.quoted:
        return words
    if first.text in lexicon.GREETINGS and (second.gap or second.text in _AFTER_GREETING):
        cut = 2 if second.text == "there" else 1
    elif first.text in lexicon.POLITE or (first.text in lexicon.OPENERS and second.gap):
        cut = 1
    elif first.text in lexicon.MODALS and second.text == "you" and len(words) > 3:
        verb = 3 if words[2].text in lexicon.POLITE else 2
        cut = verb if words[verb].text in lexicon.REQUESTS and len(words) > verb + 1 else 0
    else:
        cut = 0
    if not cut:
        return _without_me(words)
    rest = words[cut:]
    return [rest[0]._replace(gap=Gap.NONE), *rest[1:]]


def _without_me(words: list[Token]) -> list[Token]:
    """ "Give me", "explain to me" ask for the same without "me"."""
    if words[0].text not in lexicon.REQUESTS or words[0].text in ("help", "tell"):
        return words
    texts = tuple(word.text for word in words[1:3])
    if texts[:1] == ("me",) and (words[0].text in lexicon.GIVING or _begins_object(words[2:3])):
        return [words[0], *words[2:]]
    if texts == ("to", "me"):
        return [words[0], *words[3:]]
    if len(words) > 3 and words[-1].text == "me" and words[-2].text in ("for", "to"):
        return words[:-2]
    return words


def _begins_object(words: list[Token]) -> bool:
    """ "Draw me a cat" asks for a cat, "draw me as a cat" does not."""
    return any(word.kind == "number" or word.text in lexicon.ARTICLES | lexicon.SMALL["en"].keys() for word in words)


def _without_farewell(words: list[Token]) -> list[Token]:
    for phrase in lexicon.FAREWELLS.get(words[-1].text, ()) if words else ():
        start = len(words) - len(phrase)
        if start < 2 or tuple(word.text for word in words[start:]) != phrase or words[start].quoted:
            continue
        if words[start].gap or words[start - 1].text not in _SPOKEN_OF:
            return words[:start]
    return words


# --- level --------------------------------------------------------------------------------------------


def _without_trifles(words: list[Token]) -> list[Token]:
    """Without articles and fillers."""
    kept: list[Token] = []
    gap = Gap.NONE
    for position, word in enumerate(words):
        before = kept[-1].text if kept else ""
        after = words[position + 1] if position + 1 < len(words) else None
        if not word.quoted and word.kind == "word" and _is_trifle(word, before, after, len(kept)):
            gap = max(gap, word.gap)
            continue
        kept.append(word._replace(gap=max(gap, word.gap)) if gap else word)
        gap = Gap.NONE
    return kept


def _is_trifle(word: Token, before: str, after: Token | None, number: int) -> bool:
    text = word.text
    if text in lexicon.ARTICLES:
        letter = text == "a" and (after is None or after.gap or after.kind != "word" or after.text in _HOLDS_ARTICLE)
        return not letter or (after is not None and after.kind == "number" and not after.gap)
    if text in lexicon.FILLERS:
        return before not in lexicon.NEGATIONS and (after is None or after.text not in lexicon.NEGATIONS)
    if text == "some":
        listed = after is not None and after.text in lexicon.LISTED
        return listed and number == 2 and before in lexicon.BE
    if text == "exactly":
        counted = after is not None and after.kind == "number"
        return before in lexicon.QUESTION_WORDS | lexicon.BE | lexicon.DO and not counted
    if text == "that":
        return before in lexicon.THAT_AFTER and after is not None
    if text in {"in", "at", "on"} and number == 0 and after is not None:
        return after.text == "what"
    return text in lexicon.POLITE and before == "you"


def _asking_how(words: list[Token]) -> list[Token]:
    """`how do I`, `how can you`, `how to` as one word each, which says who asks if it is told."""
    texts = [word.text for word in words]
    if "how" not in texts and "where" not in texts:
        return words
    result: list[Token] = []
    position = 0
    while position < len(words):
        taken, person = _how(texts, position)
        if taken:
            name = f"{texts[position]}to{person}"
            result.append(Token(name, name, "word", words[position].gap))
        else:
            result.append(words[position])
        position += taken or 1
    return result


def _how(texts: list[str], position: int) -> tuple[int, str]:
    """How many words from *position* on say no more than "how to" or "where to", and of whom they speak."""
    first = texts[position]
    if first not in ("how", "where"):
        return 0, ""
    following = texts[position + 1 : position + 4]
    if following[:1] == ["to"] and len(following) > 1:
        return 2, ""
    helpers = lexicon.HOW_HELPERS if first == "how" else lexicon.WHERE_HELPERS
    helper = {"does": "do"}.get(following[0], following[0]) if following else ""
    if helper not in helpers or len(following) < 3 or following[1] not in lexicon.GENERIC:
        return 0, ""
    if following[2] in lexicon.OF_ONESELF or following[2] in ("not", "do"):
        return 0, ""
    person = lexicon.GENERIC[following[1]]
    if first == "where" or (person == "_you" and helper in ("can", "could")):
        return 3, ""  # "you" is anyone there
    return (0, "") if person == "_you" and helper in ("should", "would") else (3, person)


def _is_simple(words: list[Token]) -> bool:
    """Whether there is but one question word: then its place does not matter."""
    following = (*words[1:], None)[: len(words)]
    asked = sum(
        word.text in lexicon.QUESTION_WORDS | ASKED_HOW.keys() and _kind_of(None, word.text, after) != ()
        for word, after in zip(words, following, strict=True)
    )
    return asked < 2


# --- sort ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sorting:
    """The question while its words are sorted. *simple*: question words and helpers leave their places."""

    simple: bool
    kept: list[Token] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    commas: set[int] = field(default_factory=set)
    helpers: set[int] = field(default_factory=set)
    beside: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, before: Token | None, word: Token, after: Token | None) -> None:
        names = () if word.quoted or word.kind != "word" else _kind_of(before, word.text, after)
        if names and word.text in _HELPERS:
            self.beside.append((before.text if before else "", word.text, after.text if after else ""))
        if word.gap:
            self.commas.add(len(self.kept))
        if names and self.simple:
            self.kind += names
            self.helpers.add(len(self.kept))
        elif names:
            self.kept += [word._replace(text=name, raw=name) for name in names]
        else:
            self.kept.append(word)

    def parts(self, told: bool, words: list[Token]) -> Parts:
        """What was sorted. *told*: it was "tell me" and a name, which asks what that is."""
        kind = self.kind
        if told and not kind and self.kept and self.kept[0].text != "when":
            kind = ["be", "what"]
        kept, moved = _owners_last(self.kept)
        texts = tuple(token.text for token in kept)
        commas, helpers = (set[int](), set[int]()) if moved else (self.commas, self.helpers)
        return Parts(
            words=texts,
            kind=tuple(sorted(kind)),
            phrases=_phrases(texts, kept, commas, helpers),
            names=_names(kept, words),
            one_sentence=not any(word.gap is Gap.SENTENCE for word in words[1:]),
            helpers=tuple(self.beside),
        )


def _kind_of(before: Token | None, text: str, after: Token | None) -> tuple[str, ...]:
    """What a question word or helper adds to the kind; () for any other word."""
    if text == "when" and after is not None and after.text not in _HELPERS:
        return ()  # it joins two clauses
    if text in lexicon.QUESTION_WORDS:
        return (text,)
    if text in ASKED_HOW:
        return ASKED_HOW[text]
    if text in lexicon.BE:
        return ("be",)
    if text in lexicon.DO:
        return ("do",)
    if text in lexicon.PAST:
        return (lexicon.PAST[text], "past")
    if text in lexicon.MODALS:
        return (_SAME_MODAL.get(text, text) if _is_polite(before, after) else text,)
    return ()


def _is_polite(before: Token | None, after: Token | None) -> bool:
    """Whether "could" says no more than "can" between these: "could I", "what could", not "could Einstein"."""
    if after is not None and after.text == "have":
        return False
    return (after is not None and after.text in lexicon.GENERIC) or (
        before is not None and before.text in lexicon.QUESTION_WORDS
    )


def _owners_last(kept: list[Token]) -> tuple[list[Token], bool]:
    """`france 's capital` as `capital of france`."""
    moved = False
    while (place := next((i for i, token in enumerate(kept) if token.text == _OWNER), -1)) >= 0:
        moved = True
        end = place + 1
        while end < len(kept) and not _ends_owned(kept[end]):
            end += 1
        owned = kept[place + 1 : end]
        first = place - 2 if place > 1 and kept[place - 2].text in lexicon.THEIRS else max(0, place - 1)
        owner = kept[first:place]
        of = [Token("of", "of", "word")] if owned and owner else []
        kept = kept[:first] + owned + of + owner + kept[end:]
    return kept, moved


def _ends_owned(token: Token) -> bool:
    return bool(token.gap) or token.text == _OWNER or token.text in lexicon.PREPOSITIONS or token.text in _JOINS


def _phrases(texts: Phrase, kept: list[Token], commas: set[int], helpers: set[int]) -> tuple[Phrase, ...]:
    """*texts* in pieces that may change places. A preposition or comma begins one, a word of time is one.

    A helper that stood there ends what a preposition began.
    """
    phrases: list[list[str]] = []
    core, over = False, True  # whether the phrase at hand is no prepositional one; whether it is over
    for position, (text, token) in enumerate(zip(texts, kept, strict=True)):
        timed = not token.quoted and text in lexicon.TIME_WORDS
        if timed or (not token.quoted and text in lexicon.PREPOSITIONS):
            phrases.append([text])
            core, over = False, timed
        elif over or position in commas or (position in helpers and not core):
            phrases.append([text])
            core, over = True, False
        else:
            phrases[-1].append(text)
    return tuple(tuple(phrase) for phrase in phrases)


def _names(kept: list[Token], words: list[Token]) -> frozenset[str]:
    """Words with a capital inside a sentence, what is quoted, and what only means itself."""
    opening = {id(word) for word in words[:1]} | {id(word) for word in words if word.gap is Gap.SENTENCE}
    return frozenset(
        token.text
        for token in kept
        if token.quoted
        or token.kind == "literal"
        or (token.kind == "word" and _looks_named(token.raw) and id(token) not in opening)
    )


def _looks_named(raw: str) -> bool:
    return len(raw) > 1 and (raw != raw.lower() or "." in raw[1:-1] or any(letter.isdigit() for letter in raw))
