"""One module of the project with a change of its source, in this process alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[3]


def changed(file: str, old: str, new: str) -> str:
    """The source of the file (below the project's folder) with `new` in the place of `old`.

    Raises `ValueError` if `old` is not there exactly once.
    """
    source = (ROOT / file).read_text()
    if source.count(old) != 1:
        raise ValueError(f"{file} has {source.count(old)} times: {old}")
    return source.replace(old, new)


class _Changed(MetaPathFinder, Loader):
    def __init__(self, file: str, source: str):
        self._path, self._source = ROOT / file, source
        self._module = file.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        return spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._path, "exec"), module.__dict__)


def put_back(file: str, old: str, new: str) -> None:
    """From here on this process imports the module of that file with the change.

    Call it before the module is imported.  No file is written, and no bytecode is kept.
    """
    sys.meta_path.insert(0, _Changed(file, changed(file, old, new)))
