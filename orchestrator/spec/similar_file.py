"""The sweep file that somebody may have meant."""

from __future__ import annotations

from pathlib import Path

from trainer.config import most_similar

#: Where a project keeps its sweep files.
_PROJECT = "search_spaces"
#: What the folder of a sweep has.
_RESOLVED = "sweep.yaml"


def similar_file(file: str) -> str:
    """` (did you mean 'search_spaces/arrp.yaml'?)` for a file that cannot be read; else empty.

    It looks beside the file and in `search_spaces`, and for a folder, for the sweep file in it.
    """
    path = Path(file)
    found = path / _RESOLVED
    if not path.is_dir():
        # Of equal names the one beside the file.
        near = [each for folder in (Path(_PROJECT), path.parent) for each in _files(folder)]
        by_name = {each.stem: each for each in near}
        found = by_name.get(most_similar(path.stem, by_name), path)
    return f" (did you mean '{found}'?)" if found.is_file() else ""


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError:
        return []
