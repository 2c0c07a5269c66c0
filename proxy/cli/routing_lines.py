"""What `modelport status --detailed` says of routing: a line for each thing that has happened, else none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.cli.client import table


def routing_lines(health: Mapping[str, Any]) -> list[str]:
    """The lines, out of the body of `/health`."""
    routing = table(health.get("routing"))
    providers = [table(each) for each in health.get("providers") or []]
    return [f"{word:<10} {text}" for word, text in (*_providers(providers), *_routing(routing))]


def _providers(providers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for each in providers:
        name, queue, probes = each.get("name"), table(each.get("queue")), table(each.get("probes"))
        refused = table(queue.get("refused"))
        if queue.get("waiting") or queue.get("served") or queue.get("left") or refused:
            served = queue.get("served") or 0
            after = f" after {queue.get('waited_s', 0) / served:.2f} s on average" if served else ""
            told = [f"{queue.get('waiting')} waiting", f"{served} served{after}", f"{queue.get('left')} left"]
            yield "queue", f"{name}: {', '.join([*told, *_counts(refused, 'refused as ')])}"
        for out in map(table, each.get("ejected") or []):
            yield "outlier", f"{name}/{out.get('model')} goes last for {out.get('for_s')} s: {out.get('why')}"
        if any(probes.values()):
            yield "probes", f"{name}: {', '.join(_counts(probes))}"


def _routing(routing: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    retries = table(routing.get("retries"))
    if any(retries.get(name) for name in ("made", "handed_over", "denied")):
        yield (
            "retries",
            f"{retries.get('made')} made, {retries.get('handed_over')} handed over to a target that is well, "
            f"{retries.get('denied')} denied; {retries.get('left')} more may be made now",
        )
    for race in map(table, routing.get("races") or []):
        yield (
            "race",
            f"{race.get('route')}: {race.get('races')} requests, {race.get('hedged')} hedged, "
            f"{race.get('won_by_second')} won by the second, {race.get('cancelled')} calls cancelled, "
            f"{race.get('extra_usd')} USD in vain",
        )
    for one in map(table, routing.get("rounds") or []):
        told = [f"{one.get('rounds')} rounds", *_counts(table(one.get("outcomes")))]
        told += [f"{one.get('quorum_missed')} below the quorum", f"{one.get('abstained')} with a field left open"]
        yield str(one.get("policy")), f"{one.get('route')}: {', '.join(told)}"
    for one in map(table, routing.get("resumed") or []):
        outcome = str(one.get("outcome")).replace("_", " ")
        yield "broke off", f"{one.get('route')}: {one.get('streams')} streams ({outcome})"


def _counts(counts: Mapping[str, Any], before: str = "") -> list[str]:
    return [f"{count} {before}{word.replace('_', ' ')}" for word, count in counts.items()]
