"""Asking again without what the vendor has just refused, and remembering it once that has worked.

400 that names a parameter --lesson--> asked again under changed rules --answered--> remembered
                                                                     --refused---> forgotten
400 about a signature      --------> asked again without the conversation's signed reasoning
400 to a client's own bytes -------> asked again as the model's rules would have it, if they say otherwise;
                                     --answered--> remembered, and from then on not relayed where they say otherwise;
                                                   forgotten, if a value or a combination was the client's mistake
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from proxy.prepare import Prepared, wishes
from routing.catalog import Known, Overlay
from routing.targets import Target
from routing.unrelayed import lasting
from translators.neutral import Failure, Request
from translators.vaulted import Found, keys_wanted

if TYPE_CHECKING:
    from routing.healing import Lesson

log = logging.getLogger("modelport")

MOST_STEPS: Final = 3
"""How often one target is asked again for one request."""

_ABOUT_SIGNATURES: Final = re.compile(
    r"signature|encrypted[_ ]content(?! is not (?:supported|available|enabled))|redacted_thinking"
    r"|thinking[`'\"]? (?:or [^.]{0,40})?blocks",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Taught:
    """A lesson that has proved itself. *evidence* is the vendor's message, cleaned of secrets."""

    target: Target
    dialect: str
    lesson: Lesson
    evidence: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Healer:
    """What treatments need: the rules they change, and where a proven lesson is kept. *keep* must not wait.

    *used* hears of every request that a target has answered, and for which fields it was not relayed, to count the
    lessons that served it.
    """

    overlay: Overlay
    keep: Callable[[Taught], None]
    clean: Callable[[str], str]
    enabled: bool = True
    used: Callable[[Target, Request, frozenset[str]], None] = lambda _target, _request, _unlike: None


@dataclass(frozen=True, slots=True)
class _Nobodys:
    """A signature that no target is to be sent."""

    origin: str = ""
    value: bytes = b""


@dataclass(slots=True)
class Treatment:
    """One request at one target. *recalled* is what its preparation goes by; see `prepare`."""

    healer: Healer
    request: Request
    target: Target
    recalled: Mapping[bytes, Found] | None
    relays: bool = True
    """Whether a client of the target's own dialect is relayed; False once that was refused."""
    _before: Known | None = None
    _unproven: list[Taught] = field(default_factory=list)
    _steps: int = 0
    _stripped: bool = False

    def try_again(self, failure: Failure, prepared: Prepared) -> bool:
        """Whether the target may be asked again, under rules or a memory that *failure* has changed."""
        self._steps += 1
        if self._steps > MOST_STEPS or not self.healer.enabled:
            return False
        if failure.status == 400 and not self._stripped and _ABOUT_SIGNATURES.search(failure.message):
            keys = keys_wanted(self.request)
            self._stripped = True
            self.recalled = dict.fromkeys(keys, _Nobodys())
            return bool(keys)
        from routing.healing import understood  # here, as its patterns take their time to compile

        known = self.healer.overlay.of(self.target.provider, self.target.model)
        lesson = understood(failure, self.request, prepared.rules, known.lessons, prepared.headers)
        if lesson is None:
            return False
        self._learn(lesson, failure, prepared)
        return True

    def may_render(self, failure: Failure, prepared: Prepared) -> bool:
        """Whether the client's bytes were refused, so that the target may be sent what its rules make of them."""
        refused = failure.kind == "invalid_request" and failure.status in {400, 422}
        if not (refused and self.relays and prepared.verbatim and self.healer.enabled):
            return False
        from routing.healing import is_about_headers  # as above

        if is_about_headers(failure):
            return False
        self.relays = False
        return True

    def renders(self, failure: Failure, prepared: Prepared, unlike: frozenset[str]) -> None:
        """It is sent what its rules make of the request, which differs from the client's bytes in *unlike*."""
        if names := lasting(failure, unlike, wishes(prepared)):
            from routing.healing import Lesson  # as above

            reason = f"the target's rules are followed where a client's own {', '.join(names)} was refused"
            self._learn(Lesson({"not_relayed": names}, names[0].partition("=")[0], reason), failure, prepared)

    def _learn(self, lesson: Lesson, failure: Failure, prepared: Prepared) -> None:
        """Let *lesson* be in force, and have it kept once it has worked."""
        overlay, target = self.healer.overlay, self.target
        if self._before is None:
            self._before = overlay.of(target.provider, target.model)
        overlay.put(target.provider, target.model, lesson.change)
        evidence = self.healer.clean(failure.message)
        self._unproven.append(Taught(target, prepared.rules.dialect, lesson, evidence, failure.status))

    def failed(self) -> None:
        """It did not help: the rules are again what they were."""
        if self._before is None:
            return
        provider, model = self.target.provider, self.target.model
        facts = self.healer.overlay.of(provider, model).facts
        # A refresh may have brought others in the meantime.
        before = self._before if facts == self._before.facts else replace(self._before, facts=facts)
        self.healer.overlay.put_back(provider, model, before)

    def worked(self, prepared: Prepared) -> None:
        """The target answered: what was learned on the way is kept."""
        self.healer.used(self.target, self.request, prepared.unlike)
        for taught in self._unproven:
            log.warning("%s: %s (learned from its own refusal)", taught.target.name, taught.lesson.reason)
            self.healer.keep(taught)
