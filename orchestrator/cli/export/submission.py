"""`orch export submission`: the course's files to hand in."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.predict import DataFolder, Device, Epoch, Trial
from orchestrator.cli.terminal import Json, Out, Patience, print_json, say


def export_submission(
    name: Trial,
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="DIR", help="The files go into DIR/predictions."),
    ],
    ensemble: Annotated[
        str,
        typer.Option(
            metavar="seeds|ID,ID",
            help="Average over the seeds of the configuration, or over these trials of the sweep.",
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier submission in that folder.")
    ] = False,
    epoch: Epoch = "counted",
    device: Device = "auto",
    data: DataFolder = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Predict the course's dev and test files, and write them as the leaderboard reads them.

    Every file is predicted whole. A file that cannot be written, because the model lacks the task
    or the data lack the file, is named, and the others are written.
    """
    with Patience("loading the trials"):
        from orchestrator.export import submission

        folder = submission.check_folder(output, force=force)
        where = submission.Where(epoch, device, data)
        chosen = submission.members(name, out, ensemble)
    with Patience("predicting") as patience:
        made = submission.submission_of(chosen, where, patience)
    submission.write_submission(made, folder)
    for file, why in made.missing.items():
        say(f"{file}: not written: {why}")
    for note in made.notes:
        say(note)
    if as_json:
        print_json(
            {"path": str(folder), "trials": made.trials, "files": list(made.files),
             "missing": made.missing, "notes": made.notes, "dev_score": made.dev_score,
             "dev_metrics": made.metrics}
        )  # fmt: skip
        return
    trials = ", ".join(f"{trial} after epoch {epoch}" for trial, epoch in made.trials.items())
    of = f"the mean of {len(made.trials)} trials: " if len(made.trials) > 1 else ""
    print(f"{folder}: {len(made.files)} files, by {of}{trials}")
    scores = {"dev_score": made.dev_score} if made.dev_score is not None else {}
    scores |= {f"{task} dev": value for task, value in made.metrics.items()}
    print("  ".join(f"{key} {value:.4f}" for key, value in scores.items()))
