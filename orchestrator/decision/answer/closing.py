"""What stands below the verdict: how it was decided, notes, the best configuration, what next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.decision.answer.answer import Contest
from orchestrator.decision.answer.question import Question
from orchestrator.decision.confirming import Stage
from orchestrator.decision.plan.next_steps import plan_lines
from orchestrator.ledger import RESOLVED

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.ledger import Ledger

#: By `decide.choose`: which configuration stands for a method.
_CHOSEN = {
    "fastest": "Compared: the fastest configuration of each method within one standard error of "
    "its best score.",
    "best": "Compared: the configuration of each method with the best score.",
}


def how_decided(question: Question, contests: Sequence[Contest], stage: Stage | None) -> str:
    """How it was decided; for a question without its fresh seeds, what is missing.

    Args:
        stage: the confirming stage, if its looks give the answer.
    """
    if stage is not None and (contests[0].look or contests[0].problem):
        return _with_margin(_how_confirmed(contests[0], stage), question)
    seeds = sorted({side.seeds for c in contests for side in (c.one, c.other) if side.seeds})
    count = f"{_range(seeds)} of each configuration" if seeds else ""
    if question.in_file is None:
        judged = f"Judged by the search's own trials: {count}." if seeds else ""
        return _with_margin(judged, question)
    if contests and contests[0].minutes_state == "not fewer":
        return "Decided by the minutes alone: the scores were not confirmed."
    looks = question.decision.looks if question.decision else []
    first = (looks or question.in_file.looks)[0]
    shown = f" The difference is that of the search: {count}." if seeds else ""
    return (
        f"Not confirmed yet: the first look needs {first} pairs of fresh seeds.{shown} "
        "The same `orch sweep` trains them, if decide.budget allows."
    )


def _how_confirmed(contest: Contest, stage: Stage) -> str:
    if not contest.look:
        return ""
    trials = 2 * contest.pairs if len(stage.pairs) == 1 else len(stage.own)
    about = f"look {contest.look} of {contest.looks}, after {contest.pairs} pairs of fresh seeds"
    about += f" ({trials} trials)"
    counting = contest.one.seeds
    if counting < contest.pairs:
        about += f", of which {counting} count"
    if contest.score_state != "open":
        return f"Decided at {about}."
    undecided = f"Not decided by the scores at {about}."
    if stage.next_count():
        return f"{undecided} More looks follow."
    futile = any(looks and looks[-1].futile for looks in stage.looks.values())
    why = " It stopped there, because the looks that were left would hardly decide."
    return undecided + (why if futile else "")


def _with_margin(how: str, question: Question) -> str:
    """The sentence, and the margin by which the scores were judged."""
    if not how or question.decide is None:
        return how
    return f"{how} A difference up to {question.decide.margin:g} does not matter."


def _range(seeds: Sequence[int]) -> str:
    low, high = seeds[0], seeds[-1]
    return f"{low} to {high} seeds" if low < high else f"{low} seed{'s' if low > 1 else ''}"


def notes_of(question: Question, contests: Sequence[Contest]) -> list[str]:
    """What a reader must know, each note once."""
    notes = [question.compared.chosen.scored_on] if contests else []
    if contests and question.in_file is not None:
        notes.append(_CHOSEN.get(str(question.in_file.choose), ""))
    notes += [note for contest in contests for note in _contest_notes(contest)]
    return [note for note in dict.fromkeys(notes) if note]


def _contest_notes(contest: Contest) -> list[str]:
    notes = []
    for side in (contest.one, contest.other):
        if side.diverged:
            whole = side.seeds + side.diverged
            guess = "" if side.score_with_diverged is None else (
                f" With a guess in place of those that diverged it is "
                f"{side.score_with_diverged:.3f}."
            )  # fmt: skip
            notes.append(
                f"{side.title}: {side.diverged} of {whole} seeds diverged. Its score is that of "
                f"the seeds that converged.{guess}"
            )
    if contest.minutes_problem and not contest.problem:
        notes.append(f"Minutes: {contest.minutes_problem}.")
    return notes


def best_of(compared: SweepComparison) -> str:
    """The best configuration, in one line."""
    rows = compared.rows.rows
    counts = compared.rows.counts
    if not rows:
        return ""
    most = max(len(row.seeds) for row in rows)
    best = next(row for row in rows if len(row.seeds) == most)
    return (
        f"{best.label}, dev score {best.dev_score.mean:.3f} in the search, of {len(rows):,} "
        f"configurations, {sum(counts.values()):,} trials, {counts.get('failed', 0):,} failed."
    )


def plan_of(question: Question, contests: Sequence[Contest], stage: Stage | None) -> list[str]:
    """What would decide an open score; empty while planned looks are left."""
    open_score = any(
        c.verdict == "NOT DECIDED" and c.score_state == "open" and not c.problem for c in contests
    )
    if not open_score or (stage is not None and stage.own and stage.next_count()):
        return []
    assert question.decide is not None
    return plan_lines(question.spec, question.decide, question.ledger, question.trials)


def next_commands(question: Question, contests: Sequence[Contest]) -> list[str]:
    """The commands to run next."""
    ledger = question.ledger
    name = shlex.quote(ledger.name)
    commands = [f"orch {command} {name}" for command in ("compare", "report", "ui")]
    untimed = [c for c in contests if not c.problem and c.minutes_ratio is None]
    if untimed:
        commands.insert(0, f"orch time {name}{_timed_trials(question, untimed)}")
    unconfirmed = any(c.verdict == "NOT DECIDED" and not c.look and not c.problem for c in contests)
    if question.in_file is not None and unconfirmed:
        commands.insert(0, f"orch sweep {_sweep_file(ledger)}")
    return commands


def _timed_trials(question: Question, contests: Sequence[Contest]) -> str:
    """`orch time` without options times each method's best configuration; else which ones."""
    if question.in_file is None:
        return ""
    wanted = dict.fromkeys(side.config_id for c in contests for side in (c.one, c.other))
    ids = [
        next((t.trial_id for t in question.trials if t.identity.get("config_id") == each), "")
        for each in wanted
    ]
    known = [trial.trial_id for trial in question.trials]
    return "".join(f" --trials {_short(each, known)}" for each in ids if each)


def _short(trial_id: str, known: Sequence[str]) -> str:
    """The beginning of a trial's id that no other trial has, with at least four of its digits."""
    fewest = trial_id.rfind("-") + 5
    lengths = range(fewest, len(trial_id))
    unique = (n for n in lengths if sum(each.startswith(trial_id[:n]) for each in known) == 1)
    return shlex.quote(trial_id[: next(unique, len(trial_id))])


def _sweep_file(ledger: Ledger) -> str:
    """The sweep's own file, for the folder that commands use by default; else `FILE`.

    The answer is kept and travels, so it names no other folder of this machine.
    """
    if ledger.out.local is None or ledger.out.local.name != "sweeps":
        return "FILE"
    return shlex.quote(f"sweeps/{ledger.name}/{RESOLVED}")
