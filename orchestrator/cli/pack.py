"""`orch pack` and `orch unpack`: a sweep as one small file, to publish with its conclusions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.terminal import Json, Out, Patience, Sweep, print_json
from orchestrator.errors import UserError


def pack_sweep(
    name: Sweep,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="The archive (NAME.tar.xz).")
    ] = "",
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Pack what a sweep's comparison needs into one file, without any sentences.

    `orch unpack FILE` makes a folder of it. orch compare, time --last, show and report read that
    folder and give the same numbers.
    """
    from orchestrator.ledger.archive import MAGIC, pack
    from orchestrator.ledger.listing import find_sweep
    from trainer.storage.folder import in_words
    from trainer.storage.local_folder import write_whole

    ledger = find_sweep(name, out)
    path = Path(os.path.expanduser(output or f"{ledger.name}.tar.xz"))
    if path.is_dir():
        raise UserError(f"--output {path}: is a folder")
    if path.exists() and path.read_bytes()[: len(MAGIC)] != MAGIC:
        raise UserError(f"--output {path}: exists and is not a packed sweep; name another file")
    with Patience(f"packing {ledger.name}"):
        packed = pack(ledger)
        if not packed.trials:
            raise UserError(f"{ledger.name}: no trial can be read, so there is nothing to pack")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, packed.content)
    size = len(packed.content)
    if as_json:
        print_json({"path": str(path), "bytes": size, "trials": packed.trials})
    else:
        print(f"{path}: {packed.trials} trials, {in_words(size)}")


def unpack_sweep(
    file: Annotated[str, typer.Argument(metavar="PACK", help="A file of orch pack.")],
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Unpack a sweep that somebody packed. It is read as data, and nothing is written over.

    Links, devices, names that lead elsewhere, other files than those of a pack, and archives
    beyond 2 GB or 500,000 members are refused, and then nothing is left of it.
    """
    from orchestrator.ledger.unpack import unpack
    from trainer.storage.folder import in_words, is_uri

    if is_uri(out):
        raise UserError(f"--out {out}: a pack is unpacked into a folder of this machine")
    path = Path(file).expanduser()
    with Patience(f"unpacking {path.name}"):
        unpacked = unpack(path, Path(out))
    if as_json:
        print_json(
            {
                "name": unpacked.name,
                "path": str(unpacked.path),
                "trials": unpacked.trials,
                "bytes": unpacked.bytes,
            }
        )
        return
    print(f"{unpacked.path}: {unpacked.trials} trials, {in_words(unpacked.bytes)}")
