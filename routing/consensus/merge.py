"""Merges the answers of several targets into one: the entry point."""

from __future__ import annotations

from collections.abc import Sequence

from routing.consensus.answers import Answer, FieldResult, Json, Label, Mark, Merged, Options
from routing.consensus.ballots import Cast, cast
from routing.consensus.best_match import INVALID, Evidence, best_match
from routing.consensus.history import History
from routing.consensus.learned import Learned
from routing.consensus.methods import METHODS, Decision, Method, Panel, chance_of, chances, decide
from routing.consensus.plain import comparable, is_plain, most_similar, weights_of
from routing.consensus.polls import NOBODY, Poll
from routing.consensus.schemas import Schema
from routing.consensus.values import FORMS
from routing.consensus.vote import Verdict

SHAPES = {Mark.OBJECT: "(object)", Mark.LIST: "(list)", Mark.ABSENT: "(absent)"}


def merge(answers: Sequence[Answer], history: History | Learned, options: Options | None = None) -> Merged:
    """The answer on which *answers* agree best.

    Answers without a value have no say; with fewer than two that have one, the one is taken as it is. Plain texts are
    polled where they are short, else the one most like the others is taken. Everything with structure is polled place
    by place, or taken as a whole, as the method says: `options.method`, or the one that the history chose.

    Raises:
        KeyError: `options.method` is not in `methods.METHODS`.
    """
    options = options or Options()
    learned = history.learned if isinstance(history, History) else history
    method = METHODS[options.method or learned.method]
    told = [answer for answer in answers if answer.value is not None]
    if len(told) < 2:
        return _single(answers, told, learned)
    compared = comparable(told, Label(), options)
    if compared is None:
        return _most_similar(answers, told, learned, method)
    voters, values, _ = compared
    merged = _polled(voters, values, learned, method, options)
    if is_plain([answer.value for answer in told], options):
        return _written_out(merged, answers, voters, values, learned)
    silent = tuple(answer.target for answer in answers if answer.value is None)
    return _replaced(merged, _with_confidence(merged, told, options), (*merged.losers, *silent))


def _single(answers: Sequence[Answer], told: Sequence[Answer], learned: Learned) -> Merged:
    """The only answer there is, or none."""
    losers = tuple(answer.target for answer in answers if answer.value is None)
    asked = "1 target was" if len(answers) == 1 else f"{len(answers)} targets were"
    if not told:
        return Merged(None, 0.0, {}, "none", f"{asked} asked and none gave a readable answer", losers)
    only = told[0]
    reason = f"{asked} asked and only {only.target} gave a readable answer; a consensus takes two"
    return Merged(only.value, learned.reliability.of(only.target), {}, "single", reason, losers, only.target)


def _most_similar(answers: Sequence[Answer], told: Sequence[Answer], learned: Learned, method: Method) -> Merged:
    best, found = most_similar([str(answer.value) for answer in told], weights_of(told, learned.reliability))
    name, why = "similar", "is the most like the others"
    if method.kind == "match":
        name, why = method.name, "has the highest confidence"
        evidence = [Evidence(answer.logprob, None, answer.valid) for answer in told]
        alike = [sum(other.value == answer.value for other in told) for answer in told]
        best = best_match(evidence, found, alike, [learned.reliability.as_whole(answer.target) for answer in told])
    taken = told[best]
    reason = f"long text: {taken.target}'s answer {why} (mean likeness {found[best]:.2f})"
    losers = tuple(answer.target for answer in answers if answer.value != taken.value)
    return Merged(taken.value, found[best], {}, name, reason, losers, taken.target)


def _polled(
    voters: Sequence[Answer], values: Sequence[Json], learned: Learned, method: Method, options: Options
) -> Merged:
    taken = cast(values, options)
    schema = Schema(options.schema)
    about = Panel(
        [answer.target for answer in voters],
        [place.name for place in taken.layout.places],
        taken.polls,
        [answer.weight * (INVALID if answer.valid is False else 1.0) for answer in voters],
        [schema.allows_null(place.name) for place in taken.layout.places],
        [Evidence(answer.logprob, _reported(answer.value, options), answer.valid) for answer in voters],
    )
    found = chances(about, learned)
    decision = decide(method, about, learned, found)
    single, whole = chance_of(decision, found)
    chosen = [_value(verdict, of_place) for verdict, of_place in zip(decision.verdicts, taken.candidates, strict=True)]
    built = values[decision.source] if decision.source is not None else taken.layout.build(chosen)
    fields = {
        place.path: FieldResult(
            SHAPES.get(value, value) if isinstance(value, Mark) else value,
            learned.field(chance),
            _votes(about.targets, poll, candidates),
            method.name,
            verdict.settled_by,
        )
        for place, value, chance, poll, candidates, verdict in zip(
            taken.layout.places, chosen, single, taken.polls, taken.candidates, decision.verdicts, strict=True
        )
    }
    losers = tuple(answer.target for at, answer in enumerate(voters) if not _is_like(at, taken.polls, decision))
    source = None if decision.source is None else voters[decision.source].target
    return Merged(
        None if isinstance(built, Mark) else built,
        learned.whole(whole),
        fields,
        method.name,
        f"{method.says}, {_why(method, learned, options)}; {len(voters)} answers, {_disputes(taken, decision)}",
        losers,
        source,
    )


def _written_out(
    merged: Merged,
    answers: Sequence[Answer],
    voters: Sequence[Answer],
    values: Sequence[Json],
    learned: Learned,
) -> Merged:
    """The whole text of the most reliable target among those that gave the short answer that won."""
    losers = set(merged.losers) | {answer.target for answer in answers if answer not in voters}
    agreeing = [
        (value == merged.value, learned.reliability.of(answer.target), -at)
        for at, (answer, value) in enumerate(zip(voters, values, strict=True))
        if answer.target not in losers
    ]
    taken = voters[-max(agreeing)[2]] if agreeing else voters[0]
    reason = f"short answer {merged.value!r}: {merged.reason}"
    kept = tuple(answer.target for answer in answers if answer.target in losers)
    return Merged(taken.value, merged.confidence, merged.fields, merged.method, reason, kept, taken.target)


def _with_confidence(merged: Merged, told: Sequence[Answer], options: Options) -> Json:
    """The merged value; where the targets report their confidence in a member, that of the merge stands there."""
    member = options.confidence_field
    reported = [
        answer.value[member]
        for answer in told
        if member is not None and isinstance(answer.value, dict) and isinstance(answer.value.get(member), int | float)
    ]
    if member is None or not reported or not isinstance(merged.value, dict):
        return merged.value
    percent = max(reported) > 1
    value = round(100 * merged.confidence) if percent else round(merged.confidence, 3)
    return {**merged.value, member: value}


def _reported(value: Json, options: Options) -> float | None:
    """What the answer says of its own confidence, from 0 to 1."""
    if options.confidence_field is None or not isinstance(value, dict):
        return None
    said = value.get(options.confidence_field)
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 100:
        return None
    return said / 100 if said > 1 else float(said)


def _value(verdict: Verdict, candidates: Sequence[Json | Mark]) -> Json | Mark:
    return None if verdict.candidate == NOBODY else candidates[verdict.candidate]


def _votes(targets: Sequence[str], poll: Poll, candidates: Sequence[Json | Mark]) -> dict[str, Json]:
    votes = {}
    for target, vote in zip(targets, poll.votes, strict=True):
        if vote != NOBODY:
            value = candidates[vote]
            votes[target] = SHAPES.get(value, value) if isinstance(value, Mark) else value
    return votes


def _is_like(at: int, polls: Sequence[Poll], decision: Decision) -> bool:
    """Whether answer *at* says what was decided, up to normalisation, wherever it has a say."""
    return all(
        poll.votes[at] == NOBODY or _says(poll, poll.votes[at], verdict.candidate)
        for poll, verdict in zip(polls, decision.verdicts, strict=True)
    )


def _says(poll: Poll, vote: int, decided: int) -> bool:
    """Whether candidate *vote* is what was *decided*; nobody's, an abstention, is null."""
    if decided == NOBODY:
        return FORMS[poll.forms[vote]] == "null"
    return poll.normal[vote] == poll.normal[decided]


def _why(method: Method, learned: Learned, options: Options) -> str:
    if options.method:
        return "as asked for"
    if method.name in learned.scores:
        score = learned.scores[method.name]
        return f"chosen by the route's last {score.count} known exchanges ({score.mean:.3f} on them)"
    return "as long as too few exchanges have a verdict"


def _disputes(taken: Cast, decision: Decision) -> str:
    disputed = sum(poll.count > 1 for poll in taken.polls)
    ties = sum(verdict.settled_by != "score" for verdict in decision.verdicts)
    found = f"{disputed} of {len(taken.polls)} places disputed"
    return f"{found}, {ties} settled by a tie rule" if ties else found


def _replaced(merged: Merged, value: Json, losers: tuple[str, ...]) -> Merged:
    return Merged(value, merged.confidence, merged.fields, merged.method, merged.reason, losers, merged.source)
