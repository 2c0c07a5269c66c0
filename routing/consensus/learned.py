"""What a route has learnt from its history: an immutable view that `merge` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from routing.consensus.calibration import UNTAUGHT, Calibration
from routing.consensus.reliability import Reliability
from routing.consensus.weights import Weights

UNTAUGHT_METHOD: Final = "em"


@dataclass(frozen=True, slots=True)
class Score:
    """How a method did on known exchanges that it had not learnt from: the mean of its points, 0 to 1, and how many."""

    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class Learned:
    """Reliabilities and weights, the chosen method with the scores that it was chosen by, and the calibrations.

    *whole* calibrates the confidence of the merged answer, *field* that of one field.
    """

    weights: Weights = field(default_factory=Weights)
    method: str = UNTAUGHT_METHOD
    scores: Mapping[str, Score] = field(default_factory=dict)
    whole: Calibration = UNTAUGHT
    field: Calibration = UNTAUGHT

    @property
    def reliability(self) -> Reliability:
        """How often each target is right."""
        return self.weights.reliability

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "reliability": self.reliability.to_json(),
            "weights": self.weights.to_json(),
            "method": self.method,
            "scores": {name: [round(score.mean, 4), score.count] for name, score in self.scores.items()},
            "whole": [self.whole.slope, self.whole.shift],
            "field": [self.field.slope, self.field.shift],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Learned:
        """What `to_json` wrote."""
        reliability = Reliability.from_json(stored["reliability"])
        return cls(
            Weights.from_json(stored["weights"], reliability),
            stored["method"],
            {name: Score(mean, count) for name, (mean, count) in stored["scores"].items()},
            Calibration(*stored["whole"]),
            Calibration(*stored["field"]),
        )
