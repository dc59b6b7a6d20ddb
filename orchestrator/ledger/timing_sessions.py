"""The timing sessions of a sweep, and the minutes and ratios that follow from them.

In a session (orchestrator.fair_timing) configurations take turns alone on the device.  Its file,
`<sweep>/timings/<UTC>.json`, has the measurements only.  Minutes, intervals and ratios are computed
here.  A speed-up claim uses only sessions on a quiet device.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from orchestrator.ledger.timed_rounds import Measured, TimedConfig, TimedRound, TimedStretch
from orchestrator.ledger.timing_intervals import Interval, mean_interval, ratio_interval
from trainer.storage.folder import Refused
from trainer.storage.json_reader import JsonError, parse

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger

logger = logging.getLogger("orchestrator")

FOLDER = "timings"
#: Fewer quiet rounds are too few for an interval.
MIN_ROUNDS = 5


@dataclass(frozen=True)
class Minutes:
    """Minutes of training per epoch of one configuration, from one session.

    `parts` are minutes, too (`clock.STEP_PARTS`, and `other` for the rest).  On a GPU they are
    measured in steps that wait for the device after every part, so their sum exceeds `minutes`.
    Minutes of two configurations compare within one session only (`Session.ratio`).
    """

    minutes: Interval
    parts: dict[str, float]
    examples: float

    @property
    def surgery_share(self) -> float:
        """The share of Gramian, projection and combination.  Keeping task gradients apart also
        costs time within `forward_backward`; `Session.surgery_cost` includes that."""
        return self.parts["surgery"] / math.fsum(self.parts.values())


class Session(Measured):
    """A timing session's file."""

    format: Literal[1] = 1
    started_at: str
    finished_at: str
    device: str
    threads: int
    host: str
    git_commit: str
    versions: dict[str, str]
    rounds_wanted: int
    steps: int
    #: Of the rounds' orders; None in sessions of earlier versions.
    seed: int | None = None
    configs: list[TimedConfig] = Field(min_length=1)
    #: In the order of their measurement, with the contended ones.
    rounds: list[TimedRound] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Session:
        wanted = {each.config_id: [phase.name for phase in each.phases] for each in self.configs}
        for each in self.rounds:
            turns = {name: [s.phase for s in stretches] for name, stretches in each.turns.items()}
            if turns != wanted:
                raise ValueError(f"round {each.number} is not a turn of every configuration")
        return self

    @property
    def quiet(self) -> list[TimedRound]:
        """The rounds during which nothing else used the device."""
        return [each for each in self.rounds if each.contended is False]

    @property
    def problem(self) -> str:
        """Why nothing can be claimed from this session; empty if something can."""
        if len(self.quiet) >= MIN_ROUNDS:
            return ""
        shared = sum(each.contended is True for each in self.rounds)
        if shared:
            return f"something else ran on the device in {shared} of {len(self.rounds)} rounds"
        if len(self.quiet) < len(self.rounds):
            return "unknown whether something else ran on the device"
        return f"fewer than {MIN_ROUNDS} rounds"

    def config(self, config_id: str) -> TimedConfig:
        return next(each for each in self.configs if each.config_id == config_id)

    @cached_property
    def names(self) -> dict[str, str]:
        """What each configuration is called: its label, with its id where two have the same."""
        labels = Counter(each.label for each in self.configs)
        return {
            each.config_id: each.label
            if labels[each.label] == 1
            else f"{each.label} {each.config_id}"
            for each in self.configs
        }

    def minutes(self, config_id: str) -> Minutes:
        """From the quiet rounds; from all rounds if nothing can be claimed (`problem`)."""
        parts = [self._parts(each, config_id) for each in self._used]
        return Minutes(
            minutes=mean_interval(self._minutes[config_id]),
            parts={name: statistics.fmean(each[name] for each in parts) for name in parts[0]},
            examples=math.fsum(phase.examples for phase in self.config(config_id).phases),
        )

    def ratio(self, config_id: str, to: str) -> Interval:
        """Minutes per epoch of one configuration over those of another: the geometric mean of
        the rounds' ratios."""
        return ratio_interval(self._minutes[config_id], self._minutes[to])

    def ratios(self, baseline: str = "") -> dict[tuple[str, str], Interval]:
        """The ratio of every pair, the later over the earlier; with `baseline`, all others over it.

        Configurations that were added to measure surgery are left out.
        """
        ids = [c.config_id for c in self.configs if c.trial_ids or not c.without_surgery_of]
        pairs = [(one, to) for number, to in enumerate(ids) for one in ids[number + 1 :]]
        if baseline:
            pairs = [(one, baseline) for one in ids if one != baseline]
        return {pair: self.ratio(*pair) for pair in pairs}

    def surgery_cost(self, config_id: str) -> Interval | None:
        """The share of time that the plain sum would save; None if that was not measured."""
        for twin in self.configs:
            if config_id in twin.without_surgery_of:
                ratio = self.ratio(twin.config_id, config_id)
                return Interval(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)
        return None

    def to_dict(self, baseline: str = "") -> dict[str, Any]:
        """The results as plain JSON values."""
        configs = []
        for each in self.configs:
            minutes, cost = self.minutes(each.config_id), self.surgery_cost(each.config_id)
            configs.append(
                {
                    **each.model_dump(),
                    "minutes_per_epoch": asdict(minutes.minutes),
                    "parts": minutes.parts,
                    "surgery_share": minutes.surgery_share,
                    "surgery_cost": cost and asdict(cost),
                }
            )
        about = self.model_dump(exclude={"format", "configs", "rounds"})
        return {
            **about,
            "rounds": len(self.rounds),
            "quiet_rounds": len(self.quiet),
            "problem": self.problem,
            "configs": configs,
            "ratios": [
                {"config_id": one, "to": to, "ratio": asdict(ratio)}
                for (one, to), ratio in self.ratios(baseline).items()
            ],
        }

    @property
    def _used(self) -> list[TimedRound]:
        return self.rounds if self.problem else self.quiet

    @cached_property
    def _minutes(self) -> dict[str, list[float]]:
        """Minutes per epoch by config id, one for each round that is used."""
        return {
            config.config_id: [
                math.fsum(stretch.seconds * factor for stretch, factor in self._turn(each, config))
                for each in self._used
            ]
            for config in self.configs
        }

    def _parts(self, each: TimedRound, config_id: str) -> dict[str, float]:
        """Minutes per epoch by part in one round."""
        parts: dict[str, float] = {}
        for stretch, factor in self._turn(each, self.config(config_id)):
            other = max(0.0, stretch.seconds - math.fsum(stretch.parts.values()))
            for name, seconds in {**stretch.parts, "other": other}.items():
                parts[name] = parts.get(name, 0.0) + seconds * factor
        return parts

    @staticmethod
    def _turn(each: TimedRound, config: TimedConfig) -> Iterator[tuple[TimedStretch, float]]:
        """What was timed of each phase, and the factor from its seconds to minutes per epoch."""
        for phase, stretch in zip(config.phases, each.turns[config.config_id], strict=True):
            yield stretch, phase.updates / stretch.steps / 60


def timings(ledger: Ledger) -> list[Session]:
    """The sweep's timing sessions, oldest first.  Other files are ignored with a warning."""
    folder = ledger.folder.child(FOLDER)
    sessions = []
    for name in folder.names():
        if not name.endswith(".json"):
            continue
        try:
            content = folder.read(name)
            if content is not None:
                sessions.append(Session.model_validate(parse(content)))
        except (Refused, JsonError, ValidationError) as error:
            logger.warning(
                "%s/%s: not a timing session: %s", folder.path, name, _first_reason(error)
            )
    return sorted(sessions, key=lambda session: session.started_at)


def _first_reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))} {first['msg']}"


def fair_ratio(sessions: Sequence[Session], config_id: str, to: str) -> Interval | None:
    """Minutes of one configuration over those of another; None if no quiet session timed both.

    It comes from the newest such session, because minutes of two sessions do not compare.
    """
    for session in reversed(sessions):
        ids = {config.config_id for config in session.configs}
        if not session.problem and {config_id, to} <= ids:
            return session.ratio(config_id, to)
    return None
