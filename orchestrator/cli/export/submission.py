"""`orch export submission`: the course's files to hand in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.terminal import (
    DataFolder,
    Device,
    Epoch,
    Json,
    Out,
    Patience,
    Trial,
    complain,
    print_json,
    say,
)


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
        from orchestrator.export.output_folder import check_folder

        folder = Path(output).expanduser() / submission.FOLDER
        check_folder(folder, submission.FILES, force=force)
        where = submission.Where(epoch, device, data)
        chosen = submission.members(name, out, ensemble)
    with Patience("predicting") as patience:
        result = submission.submission_of(chosen, where, patience)
    submission.write_submission(result, folder)
    for file, why in result.missing.items():
        complain(f"{file}: not written: {why}")
    for note in result.notes:
        say(note)
    if as_json:
        print_json(
            {"path": str(folder), "trials": result.trials, "files": list(result.files),
             "missing": result.missing, "notes": result.notes, "dev_score": result.dev_score,
             "dev_metrics": result.metrics}
        )  # fmt: skip
        return
    trials = ", ".join(f"{trial} after epoch {epoch}" for trial, epoch in result.trials.items())
    of = f"the mean of {len(result.trials)} trials: " if len(result.trials) > 1 else ""
    print(f"{folder}: {len(result.files)} files, by {of}{trials}")
    scores = {"dev_score": result.dev_score} if result.dev_score is not None else {}
    scores |= {f"{task} dev": value for task, value in result.metrics.items()}
    print("  ".join(f"{key} {value:.4f}" for key, value in scores.items()))
