"""One study in memory, and its proposals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from orchestrator.search.distributions import contains, distribution, in_optuna, suggest
from orchestrator.search.seeded_samplers import GENERATION, JOINT, SeededSampler

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

#: After so many repeats in a row a space counts as exhausted.
PATIENCE = 100
#: After so many repeats in a row proposals become random: a search that is sure of its best
#: configuration keeps proposing it while others were never tried.
NARROW = 10

DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


@dataclass(frozen=True)
class Suggestion:
    """One configuration to try.

    Attributes:
        key: `e3` is the entry enqueue[3], `p7` the proposal 7 (`arrp/p7` with `search.per`).
        params: dotted config key -> value, of all that act.
        notes: what the sampler needs after a restart; plain JSON.
        number: the number of its trial in the study of its series.
    """

    key: str
    params: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    number: int = -1

    @property
    def is_proposal(self) -> bool:
        return self.key.rpartition("/")[2].startswith("p")

    @property
    def record(self) -> dict[str, Any]:
        """Its entry in config.json, from which `recall` restores it."""
        return {"key": self.key, "params": self.params, "notes": self.notes}


class Series:
    """The suggestions of one study: all of a sweep's, or those with one choice of `search.per`.

    The study has exactly the suggestions of the ledger, without repeats.  So an interrupted search
    continues as an uninterrupted one.

    Args:
        name: of the choice, and first part of the keys; empty without `search.per`.
        given: the choice itself, a part of every suggestion's params.
    """

    def __init__(self, spec: SweepSpec, name: str = "", given: Mapping[str, Any] | None = None):
        self.spec = spec
        self.name = name
        self.given = dict(given or {})
        #: How many configurations have started, in this run or an earlier one.
        self.started = 0
        self.exhausted = False
        #: A search that uses results continues after its last proposal: a missing number was a
        #: repeat, and its proposal would be another one by now.  `random` fills such gaps with the
        #: same proposals as in an uninterrupted run.
        self._looks_back = spec.search.algorithm != "random"
        self._taken: set[int] = set()
        self._next = 0
        self._repeats = 0
        #: Suggestions that the algorithm cannot use (`gp`: a value outside the space).
        self._outside: set[int] = set()
        self._reachable = self._find_reachable()
        self._distributions = {name: distribution(spec.space[name]) for name in self._reachable}
        #: The dimensions that `gp` and `nsga2` propose together.
        self._joint = {
            name: drawn_from
            for name, drawn_from in self._distributions.items()
            if spec.search.algorithm in JOINT and not drawn_from.single()
        }
        #: NSGA-II crosses whole genomes, so a dimension that does not act becomes a hidden gene.
        self._hides = spec.search.algorithm == "nsga2"
        self._sampler = SeededSampler(spec.search, self._joint)
        self._storage = InMemoryStorage()
        self.study = optuna.create_study(
            storage=self._storage,
            sampler=self._sampler,
            directions=[DIRECTIONS[goal] for goal in spec.search.objectives.values()],
        )
        self._size = 0

    @property
    def left(self) -> int:
        """How many more configurations may start."""
        return 0 if self.exhausted else max(0, self.spec.search.num_trials - self.started)

    def recall(
        self, number: int | None, params: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> int:
        """Restore a suggestion of an earlier run as running; returns its trial's number.

        Args:
            number: the proposal's, which is not proposed again; None for an entry.
        """
        if number is not None and self._looks_back:
            self._next = max(self._next, number + 1)
        elif number is not None:
            self._taken.add(number)
        self.started += 1
        space, hidden = self.spec.space, notes.get("genes", {})
        values = {}
        for name in self._reachable:
            known = [params[name]] if name in params and self.spec.acts(name, params) else []
            known += [hidden[name]] if name in hidden else []
            fitting = [value for value in known if contains(space[name], value)]
            if fitting:
                values[name] = in_optuna(space[name], fitting[0])
        generation = notes.get("generation")
        trial = create_trial(
            state=TrialState.RUNNING,
            params=values,
            distributions={name: self._distributions[name] for name in values},
            system_attrs={} if generation is None else {GENERATION: generation},
        )
        self.study.add_trial(trial)
        return self._count(values)

    def ask(self, key: str, entry: Mapping[str, Any]) -> Suggestion:
        """A suggestion with the values of `entry`; the algorithm proposes the others."""
        self._sampler.key = key
        self._sampler.widened = self._repeats >= NARROW
        params = {**self.given, **entry}
        space, hidden = self.spec.space, {}
        wanted = {
            name: in_optuna(space[name], entry[name])
            for name in self._reachable
            if name in entry and contains(space[name], entry[name])
        }
        if wanted:
            self.study.enqueue_trial(wanted)
        trial = self.study.ask()
        for name in self._reachable:
            if self.spec.acts(name, params) and (name in wanted or name not in params):
                params.setdefault(name, suggest(trial, name, space[name]))
            elif self._hides:
                hidden[name] = suggest(trial, name, space[name])
        notes: dict[str, Any] = {"genes": hidden} if hidden else {}
        if self._sampler.generation is not None:
            notes["generation"] = self._sampler.generation
        return Suggestion(key, params, notes, self._count(trial.params))

    def propose(self) -> Suggestion:
        """The next proposal that the ledger does not have."""
        while self._next in self._taken:
            self._taken.discard(self._next)
            self._next += 1
            self._repeats = 0  # as it was when that one was proposed
        number = self._next
        self._next += 1
        prefix = f"{self.name}/" if self.name else ""
        return self.ask(f"{prefix}p{number}", {})

    def accept(self) -> None:
        """The last suggestion is a new configuration."""
        self.started += 1
        self._repeats = 0

    def reject(self, suggestion: Suggestion) -> bool:
        """Its configuration is known; returns whether the space is now exhausted."""
        self.study.tell(suggestion.number, state=TrialState.FAIL)  # samplers ignore it
        if suggestion.is_proposal:
            self._repeats += 1
            self.exhausted = self._repeats >= PATIENCE
        return self.exhausted

    def tell(self, number: int, state: str, values: tuple[float, ...], epochs: int) -> None:
        """End a suggestion as `complete`, `pruned` or `failed`."""
        if state == "failed" or number in self._outside:
            self.study.tell(number, state=TrialState.FAIL)
        elif state == "complete":
            self.study.tell(number, list(values))
        else:
            if len(values) == 1:  # Optuna takes intermediate values of a single objective only
                # The storage has a single study, so a trial's id equals its number.
                self._storage.set_trial_intermediate_value(number, epochs, values[0])
            self.study.tell(number, state=TrialState.PRUNED)

    def _count(self, values: Mapping[str, Any]) -> int:
        """The number of the trial that was just created with `values`."""
        number = self._size
        self._size += 1
        if not self._joint.keys() <= values.keys():
            self._outside.add(number)
        return number

    def _find_reachable(self) -> list[str]:
        """Dimensions that can act here: `base` and the given choice contradict no condition."""
        spec, reachable = self.spec, list[str]()
        for name, dimension in spec.space.items():
            if name in self.given:
                continue
            holds = (
                self.given[other] in allowed
                if other in self.given
                else other in reachable
                if other in spec.space
                else spec.base_value(other) in allowed
                for other, allowed in dimension.when.items()
            )
            if all(holds):
                reachable.append(name)
        return reachable
