"""Several prompts in one completions request.

A server that has the endpoint takes them all at once. Any other target is asked once for each, and the answers are
joined; each call is an attempt in the ledger. Such an answer is whole, and not kept: it is many answers in one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from proxy.asked import Asked
from proxy.asking import Committed
from proxy.attempt import Attempter
from proxy.budgeting import Load
from proxy.chain import first_answer, resolve
from proxy.delivery import Delivery
from proxy.errors import Refused, failure_of, for_client, refused
from proxy.exchange import Attempt, Exchange
from proxy.opening import Matter, new_exchange
from proxy.ordering import Wish, in_order
from proxy.pipeline import answer
from proxy.providers import COMPLETIONS
from proxy.records import of_question
from proxy.server import Incoming
from proxy.services import Services, spoken
from proxy.setup import Key, Setup
from routing.errors import Unfit
from routing.targets import Route, Target
from storage.errors import LedgerUnavailable
from storage.ledger import Status
from translators.codec import dumps
from translators.errors import BadRequest
from translators.neutral import Failure, Response, Usage
from translators.openai_text import joined, prompts
from translators.tokens import estimate_request, estimate_text, family, rough

MOST_PROMPTS: Final = 128
"""For a target that has to be asked once for each."""
SIDE_BY_SIDE: Final = 4


async def answer_each(
    services: Services, incoming: Incoming, whole: Asked, each: Callable[[], list[Asked]]
) -> web.StreamResponse:
    """Answer *whole*, whose prompts *each* gives one by one.

    Raises:
        Refused: with what the client is to be told.
        BadRequest: the request cannot be put to its target.
    """
    with services.setup.used() as setup:
        route = resolve(setup, whole.request.model, whole.controls, incoming.identity)
        if all(has_completions(setup, target) for target in route.targets):
            return await answer(services, incoming, whole)
        exchange = _new_exchange(services, setup, incoming, whole, route)
        committed: Committed | None = None
        try:
            asking = Asking(services, setup, exchange, route, whole, each)
            targets = await in_order(services, setup, Wish(route, whole.request, incoming.identity), route.targets)
            committed = await first_answer(services, setup, route, exchange, targets=targets, attempt=asking.attempt)
            return await Delivery(services, incoming, whole, exchange).of_committed(committed)
        except LedgerUnavailable as error:
            raise refused(503, str(error), kind="overloaded", code="ledger_unavailable", retry_after_s=1) from error
        except (Refused, BadRequest) as error:
            if exchange.attempts:
                await services.account_left(exchange, None)
                await exchange.settle("failed", failure_of(error))
            raise
        finally:
            if committed:
                await committed.close()
            if exchange.attempts and not exchange.settled:
                gone = isinstance(sys.exception(), asyncio.CancelledError | ConnectionError)
                status: Status = "aborted" if gone else "failed"
                services.spawn(services.settle_partial(exchange, committed, status, None))


def has_completions(setup: Setup, target: Target) -> bool:
    """Whether *target* takes the client's request as it is."""
    return COMPLETIONS in setup.specs[target.provider].speaks_for(target.model)


def _new_exchange(services: Services, setup: Setup, incoming: Incoming, whole: Asked, route: Route) -> Exchange:
    request = whole.request
    matter = Matter(
        dialect=request.dialect,
        controls=whole.controls,
        count=lambda model: _counted(whole, model),
        input_estimate=rough(len(whole.raw)),
        load=Load(lambda: rough(len(whole.raw)), request.max_output_tokens, request.n or 1),
        stream=request.stream,
    )
    exchange = new_exchange(services, setup, incoming, route, matter)
    settings, requests = setup.loaded.settings, services.request_log
    requests.follow(settings, exchange, incoming.identity, lambda: of_question(whole, exchange.answer))
    return exchange


def _counted(whole: Asked, model: str) -> int:
    """The tokens of all prompts. Token ids that nobody here can read count by the size of their numbers."""
    try:
        return sum(estimate_text(text, model).tokens for text in prompts(whole.body))
    except BadRequest:
        return rough(len(whole.raw))


@dataclass(frozen=True, slots=True)
class Asking:
    """Makes attempts for one exchange; `attempt` is what the executor calls."""

    services: Services
    setup: Setup
    exchange: Exchange
    route: Route
    whole: Asked
    each: Callable[[], list[Asked]]

    async def attempt(self, target: Target, key: Key | None, deadline: float) -> Committed:
        """Ask *target* for all prompts at once, or for one after the other.

        Raises:
            AttemptFailed: it gave no answer to one of them.
            Unfit: the request cannot be put to it.
            LedgerUnavailable: a call could not be booked, so it was not made.
        """
        if has_completions(self.setup, target):
            return await self._attempter(self.whole).attempt(target, key, deadline)
        if self.whole.request.stream:
            told = (
                f"stream: {target.name} has no completions endpoint and streams the answer to one prompt only; "
                "send the prompts one by one, or without stream"
            )
            raise Unfit(Failure("invalid_request", told, 400, "unsupported_stream", "stream"))
        try:
            questions = self.each()
        except BadRequest as error:
            raise Unfit(failure_of(error)) from error
        if len(questions) > MOST_PROMPTS:
            told = f"prompt: {len(questions)} prompts; {target.name} takes {MOST_PROMPTS}"
            raise Unfit(Failure("invalid_request", told, 400, param="prompt"))
        return await self._side_by_side(questions, target, key, deadline)

    async def _side_by_side(
        self, questions: Sequence[Asked], target: Target, key: Key | None, deadline: float
    ) -> Committed:
        spec = self.setup.specs[target.provider]
        before = len(self.exchange.attempts)
        gate = asyncio.Semaphore(1 if spec.one_at_a_time else SIDE_BY_SIDE)

        async def one(question: Asked) -> Committed:
            async with gate:
                committed = await self._attempter(question).attempt(target, key, deadline)
                await self._count(question, committed)
                return committed

        tasks = [asyncio.ensure_future(one(question)) for question in questions]
        try:
            answers = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for made in self.exchange.attempts[before:]:
                made.abandoned = True
            raise
        responses = [answer.response for answer in answers if answer.response]
        rendered = [
            question.dialect.render_response(response, question.reply_to())
            for question, response in zip(questions, responses, strict=True)
        ]
        notes = [note for answer in answers for note in answer.notes]
        self.exchange.losses = tuple(dict.fromkeys((*self.exchange.losses, *notes)))
        return Committed(
            self.exchange,
            [made for answer in answers for made in answer.attempts],
            answers[0].prepared,
            answers[0].headers,
            response=_together(responses),
            payload=dumps(joined(rendered)),
        )

    async def _count(self, question: Asked, committed: Committed) -> None:
        """Put the usage on the attempts of one prompt: the vendor's, else an estimate, flagged."""
        response = committed.response
        if response is None:
            return
        for made, part in zip(committed.attempts, committed.shares(response), strict=True):
            if made.usage is None:
                made.usage = await asyncio.to_thread(_estimated, question, made, part)

    def _attempter(self, question: Asked) -> Attempter:
        setup = self.setup
        return Attempter(
            question,
            self.exchange,
            setup.specs,
            setup.backends,
            losses=question.controls.losses or self.route.losses,
            healer=self.services.healer,
            structured=setup.structured(self.route.name),
            continuations=setup.loaded.settings.retry.continuations,
            fetch=self.services.media.fetch,
            price=self.services.price,
            clean=lambda where, failure: for_client(failure, where, setup.redactor),
            clean_text=setup.redactor.clean,
        )


def _estimated(question: Asked, made: Attempt, part: Response) -> Usage:
    model = made.target.model
    return Usage(
        input_tokens=estimate_request(question.request, family(model)).tokens,
        output_tokens=estimate_text(spoken(part), model).tokens,
        estimated=True,
    )


def _together(responses: Sequence[Response]) -> Response:
    """The answers as one, for the books: what the client gets is rendered prompt by prompt."""
    choices = [choice for response in responses for choice in response.choices]
    return replace(
        responses[0], choices=tuple(replace(choice, index=index) for index, choice in enumerate(choices)), usage=None
    )
