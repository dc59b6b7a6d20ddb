"""`orch export model`: a folder that transformers opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.terminal import (
    DataFolder,
    Epoch,
    Json,
    Out,
    Patience,
    Trial,
    print_json,
)


def export_model(
    name: Trial,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="The folder for the model.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a model in that folder.")] = False,
    epoch: Epoch = "counted",
    data: DataFolder = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Write a trained model as a folder that transformers opens, with its heads beside.

    BertModel.from_pretrained(DIR) gives the encoder. The README in the folder says how a head
    computes, with an example.
    """
    from orchestrator.export.chosen_trial import choose_trial

    folder = Path(output).expanduser()
    chosen = choose_trial(name, out)
    with Patience("loading the model"):
        from orchestrator.export.hugging_face import FILES, model_files, write_model
        from orchestrator.export.output_folder import check_folder
        from orchestrator.export.trained_model import load_model

        check_folder(folder, FILES, force=force)
        model = load_model(chosen, epoch=epoch, device="cpu", data=data)
    files = model_files(model, chosen.ledger.name)
    write_model(files, folder)
    sizes = {file: len(content) for file, content in files.items()}
    about = model.description
    if as_json:
        print_json({"path": str(folder), "trial_id": about.trial_id, "epoch": about.epoch,
                    "tasks": list(model.tasks), "bytes": sizes})  # fmt: skip
        return
    print(
        f"{folder}: {about.trial_id} after epoch {about.epoch}, {len(files)} files, "
        f"{sum(sizes.values()) / 1e6:.1f} MB; README.md has an example"
    )
