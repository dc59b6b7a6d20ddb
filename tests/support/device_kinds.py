"""Hosts of another kind: processes whose devices multiply natively what a test says."""

from __future__ import annotations

from pathlib import Path

#: Python loads a module of this name at its start, from the first folder of PYTHONPATH.
_FILE = "sitecustomize.py"
_KIND = """
import importlib.util, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "trainer.loop.device":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def changed(module):
            load(module)
            module.multiplies_bf16 = lambda device: {native}
        spec.loader.exec_module = changed
        return spec

sys.meta_path.insert(0, Finder())
"""


def write_kind(folder: Path, native: bool) -> None:
    """Make a folder for PYTHONPATH: what runs with it multiplies bf16 natively, or does not."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).write_text(_KIND.format(native=native))
