"""What an embedder is, and what all of them share: batches, token ids as text, the answer in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from translators import tokens
from translators.embeddings.request import EmbeddingRequest, Input
from translators.embeddings.vectors import Vector, encoded
from translators.errors import BadRequest, Unsupported
from translators.losses import Loss
from translators.neutral import Failure, Usage
from translators.tokens import EncodingName


@dataclass(frozen=True, slots=True)
class EmbeddingRules:
    """What one target takes, as data. The defaults are those of its dialect."""

    max_inputs: int | None = None
    """Inputs in one call; None: the dialect's own bound."""
    max_tokens: int | None = None
    """Tokens of all inputs of one call; None: the dialect's own bound, if it has one."""
    refuses: frozenset[str] = frozenset()
    """Fields that the target answers with 400: `dimensions`, `user`, `encoding_format`, ... They are left out."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Fields that an OpenAI-compatible server calls otherwise (`dimensions` is Mistral's `output_dimension`)."""
    token_ids: bool = True
    """Whether an OpenAI-compatible server takes lists of token ids."""
    token_encoding: EncodingName | None = None
    """How clients' token ids are read where the model's name does not tell."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the backend: *path* after the base URL, *body*, and how many *inputs* it has."""

    path: str
    body: dict[str, Any]
    inputs: int


@dataclass(frozen=True, slots=True)
class RenderedEmbedding:
    """The calls, in the order of the inputs, and what they lost against the client's request."""

    calls: tuple[Call, ...]
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedded:
    """An answer: one vector for each input, in order. *usage* is None when the vendor told none."""

    vectors: tuple[Vector, ...]
    usage: Usage | None = None
    model: str = ""


class Embedder(Protocol):
    """A dialect in which embeddings can be asked for."""

    @property
    def PATH(self) -> str:  # noqa: N802  a constant of the module
        """The call's path, with `{model}` where it stands in it; empty for a backend without HTTP."""

    @property
    def MAX_INPUTS(self) -> int:  # noqa: N802
        """Inputs in one call."""

    @property
    def MAX_TOKENS(self) -> int | None:  # noqa: N802
        """Tokens in one call."""

    def render(self, request: EmbeddingRequest, rules: EmbeddingRules, model: str) -> RenderedEmbedding:
        """*request* for the target, as *model* there. Raises Unsupported for an input that it cannot take."""

    def parse(self, body: Mapping[str, Any], inputs: int) -> Embedded:
        """The answer to a call of *inputs* inputs. Raises BadAnswer when it is none."""

    def parse_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
        """Whatever the vendor sent, JSON or not."""

    def error_in(self, body: Mapping[str, Any]) -> Failure | None:
        """The error that some servers put into an answer of status 200."""


# --- rendering -----------------------------------------------------------------------------------


def batches(inputs: Sequence[Input], max_inputs: int, max_tokens: int | None) -> Iterator[Sequence[Input]]:
    """*inputs* in pieces within both bounds, in order. An input that is too large for itself goes alone.

    Texts are counted roughly and rather too high: one call more costs less than one that is refused.
    """
    start, weight = 0, 0
    for at, item in enumerate(inputs):
        more = weight_of(item) if max_tokens is not None else 0
        if at > start and (at - start >= max_inputs or (max_tokens is not None and weight + more > max_tokens)):
            yield inputs[start:at]
            start, weight = at, 0
        weight += more
    yield inputs[start:]


def weight_of(item: Input) -> int:
    """The tokens of an input, roughly; 0 for another vendor's form."""
    match item:
        case str():
            return tokens.rough(len(item.encode("utf-8", "replace")))
        case tuple():
            return len(item)
        case _:
            return 0


def texts_of(request: EmbeddingRequest, rules: EmbeddingRules, losses: list[Loss]) -> list[str]:
    """The inputs as texts; token ids are decoded, which is said in *losses*.

    Raises:
        Unsupported: token ids of an unknown encoding, or another vendor's form.
        BadRequest: a token id that the encoding does not have.
    """
    texts: list[str] = []
    for position, item in enumerate(request.inputs):
        place = request.place(position)
        match item:
            case str():
                texts.append(item)
            case tuple():
                texts.append(_decoded(item, place, request.model, rules))
            case _:
                raise Unsupported(f"{place}: the target embeds texts only", place, "unsupported_part")
    if any(isinstance(item, tuple) for item in request.inputs):
        losses.append(Loss("input", "emulated", "token ids are sent as the text that they stand for"))
    return texts


def _decoded(token_ids: tuple[int, ...], place: str, model: str, rules: EmbeddingRules) -> str:
    encoding = tokens.encoding_name(model) if tokens.family(model) == "openai" else rules.token_encoding
    if encoding is None:
        raise Unsupported(
            f"{place}: the target takes texts, and which tokenizer these token ids are of is not known for {model!r}; "
            "send texts (langchain-openai: check_embedding_ctx_length=False)",
            place,
            "unsupported_part",
        )
    try:
        return tokens.decode(token_ids, encoding)
    except ValueError as error:
        raise BadRequest(f"{place}: {error}", place, "invalid_value") from error


def unsaid(request: EmbeddingRequest, target: str, said: frozenset[str]) -> Iterator[Loss]:
    """A loss for each field of the client that *target* has no word for; *said* are those that it took."""
    if request.user is not None:
        yield Loss("user", "dropped", f"{target} has no such field")
    if request.task_field is not None and request.task_field not in said:
        yield Loss(request.task_field, "dropped", f"{target} has no such purpose")
    for name in request.own:
        if name not in said and name != request.task_field:
            yield Loss(name, "dropped", f"{target} has no such field")


def said_task(request: EmbeddingRequest, words: Mapping[str, str]) -> tuple[str | None, frozenset[str]]:
    """The target's word for the request's purpose, with the field that is thereby said.

    A word that is already one of the target's own (in any case) is taken as it is.
    """
    if request.task_field is None:
        return None, frozenset()
    written = str(request.own[request.task_field])
    own = {word.lower(): word for word in words.values()}
    word = own.get(written.lower()) or (words.get(request.task) if request.task else None)
    return word, frozenset({request.task_field} if word else ())


# --- answers -------------------------------------------------------------------------------------


def joined(answers: Sequence[Embedded]) -> Embedded:
    """The answers of several calls as one, usage summed; unknown as soon as one of them told none."""
    if len(answers) == 1:
        return answers[0]
    usages = [answer.usage for answer in answers if answer.usage is not None]
    usage = None
    if len(usages) == len(answers):
        usage = Usage(
            input_tokens=sum(usage.input_tokens for usage in usages), raw={"calls": [usage.raw for usage in usages]}
        )
    model = next((answer.model for answer in answers if answer.model), "")
    return Embedded(tuple(vector for answer in answers for vector in answer.vectors), usage, model)


def size_losses(request: EmbeddingRequest, sizes: Sequence[int]) -> tuple[Loss, ...]:
    """The loss when vectors of *sizes* numbers are not what `dimensions` asked for."""
    wrong = next((size for size in sizes if size != request.dimensions), None)
    if request.dimensions is None or wrong is None:
        return ()
    return (Loss(request.dimensions_field, "dropped", f"the target answered with vectors of {wrong} numbers"),)


NO_TOKENS: Final = Usage()


def render_answer(request: EmbeddingRequest, embedded: Embedded, *, model: str, usage: Usage | None) -> dict[str, Any]:
    """The answer in OpenAI's shape, with numbers or base64 as the client asked.

    *usage* may be the proxy's own count. *model* is the answer's `model`.
    """
    as_base64 = request.encoding_format == "base64"
    counted = (usage or NO_TOKENS).input_tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector) if as_base64 else vector.tolist()}
            for index, vector in enumerate(embedded.vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": counted, "total_tokens": counted},
    }
