"""What a sweep does when its search is over: it times the question's configurations, then confirms.

Timing comes first, because it is cheap.  Where an epoch does not take fewer minutes, the answer is
NO, and confirming is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.compare.statistics.dev_predictions import PredictionsError
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.decision.answer.verdict import minutes_state
from orchestrator.decision.confirming import Confirming, OnLook, Picked, fix, pick
from orchestrator.decision.contestants import cost
from orchestrator.decision.plan.next_steps import cost_lines
from orchestrator.decision.plan.power_plan import plan
from orchestrator.errors import UserError
from orchestrator.ledger.current import current, searched
from orchestrator.ledger.evaluations import on_equal_examples
from orchestrator.ledger.timing_sessions import timings
from orchestrator.preflight.checks import Identify, check_same_sweep
from orchestrator.scheduling.confirm_queue import ConfirmQueue

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.runner.timing_task import TimingOrder
    from orchestrator.spec import SweepSpec

#: Timing takes this share of the sweep's time, within these bounds in seconds.
_SHARE, _LEAST_S, _MOST_S = 0.05, 20.0, 120.0


@dataclass(frozen=True)
class AfterOptions:
    """What the user wants after the search.

    Attributes:
        timing: whether to time the configurations of the question.
        confirm: True also confirms where the minutes have answered; False never does.
    """

    timing: bool = True
    confirm: bool | None = None


@dataclass
class AfterSearch:
    """The stages after a search that is over, as the ledger asks for them.

    Attributes:
        say: shows a message to the user.
        on_look: called when a look of the confirming stage begins (`Confirming`).
    """

    spec: SweepSpec
    ledger: Ledger
    identify: Identify
    options: AfterOptions
    say: Callable[[str], None]
    on_look: OnLook = lambda look, looks, minutes: None
    #: Why nothing is confirmed, although it is wanted; empty if nothing prevents it.
    problem: str = ""

    def is_wanted(self) -> bool:
        """Whether anything is left to do."""
        return self.timing_order(1) is not None or self.confirm_queue(dry=True) is not None

    def timing_order(self, places: int) -> TimingOrder | None:
        """What to time; None if that is not wanted, not possible, or has been done.

        Args:
            places: how many trials train at the same time.
        """
        ids = self._config_ids()
        if not (self.options.timing and ids) or self._was_timed(ids):
            return None
        from orchestrator.runner.timing_task import TimingOrder

        trials = searched(self._trials)
        examples = [
            next((t for t in self._trials if _is_of(t, each)), None) for each in ids.values()
        ]
        if not all(examples):
            return None
        chosen = [trial for trial in examples if trial is not None]
        seconds = 60 * cost(trials) / max(1, places)
        return TimingOrder(
            out=self.ledger.out.path,
            name=self.ledger.name,
            trial_ids=[trial.trial_id for trial in chosen],
            data={key: self.spec.base_value(f"data.{key}") for key in ("root", "cache")},
            seconds=min(_MOST_S, max(_LEAST_S, _SHARE * seconds)),
            device=str(chosen[0].identity.get("device", "")),
            cwd=os.getcwd(),
        )

    def confirm_queue(self, *, dry: bool = False) -> ConfirmQueue | None:
        """The queue of the confirming stage; None if it is over or not wanted.

        Records what is fixed before the first trial, unless `dry`.
        """
        decide, say = self.spec.decide, (lambda text: None) if dry else self.say
        if decide is None or self.options.confirm is False:
            return None
        names = self._still_asked(say)
        if not names:
            return None
        if self.spec.resolved.decision is None:
            try:
                # Also trials with another number of epochs keep their seeds.
                decision = fix(self.spec, self._all_trials, self._picked, names)
            except UserError as error:
                self._refuse(error, say)
                return None
            if dry:
                return ConfirmQueue(self.ledger, 0, list)
            resolved = self.spec.resolved.model_copy(update={"decision": decision})
            self.spec = self.spec.model_copy(update={"resolved": resolved})
            check_same_sweep(self.ledger.folder, self.spec, self._trials)
            for line in cost_lines(plan(self.spec, self.ledger, self._trials, margins=())):
                say(line)
        look = AfterSearch.on_look if dry else self.on_look
        stage = Confirming(self.ledger, self.spec, self.identify, say, look)
        queue = ConfirmQueue(self.ledger, self.spec.resources.max_failures, stage.next_look)
        try:
            return queue if queue.has_next() else None
        except PredictionsError as error:
            self._refuse(error, say)
            return None

    def _refuse(self, error: Exception, say: Callable[[str], None]) -> None:
        self.problem = f"nothing is confirmed: {error}"
        say(self.problem)

    def _still_asked(self, say: Callable[[str], None]) -> list[str]:
        """The challengers whose scores still matter, because minutes have not answered."""
        decide = self.spec.decide
        assert decide is not None
        ids = self._config_ids()
        begun = self.spec.resolved.decision is not None
        if decide.ask != "minutes" or self.options.confirm or begun or not ids:
            return decide.challengers
        minutes = Minutes(self.ledger, self._trials)
        slow = [
            name
            for name in decide.challengers
            if minutes_state(minutes.ratio(ids[name], ids[decide.baseline])) == "not fewer"
        ]
        if slow:
            say(
                f"confirming is left out for {', '.join(slow)}: an epoch does not take fewer "
                "minutes, so the answer is NO; --confirm trains it all the same"
            )
        return [name for name in decide.challengers if name not in slow]

    def _was_timed(self, ids: dict[str, str]) -> bool:
        """Whether a session has timed all of them, also if the device was not quiet."""
        wanted = set(ids.values())
        return any(
            wanted <= {each.config_id for each in session.configs}
            for session in timings(self.ledger)
        )

    def _config_ids(self) -> dict[str, str]:
        """The question's configurations by name; empty if there is no question or no candidate."""
        if self.spec.decide is None:
            return {}
        if self.spec.resolved.decision is not None:
            return self.spec.resolved.decision.config_ids
        try:
            return self._picked.config_ids
        except UserError:
            return {}

    @cached_property
    def _picked(self) -> Picked:
        return pick(self.spec, self._trials, self.identify)

    @cached_property
    def _trials(self) -> list[TrialRecord]:
        """The trials at the end of the search."""
        return on_equal_examples(current(self.spec.to_dict(), self._all_trials))

    @cached_property
    def _all_trials(self) -> list[TrialRecord]:
        """Also those with another number of epochs."""
        return self.ledger.trials()


def _is_of(trial: TrialRecord, config_id: str) -> bool:
    return trial.status == "complete" and trial.identity.get("config_id") == config_id
