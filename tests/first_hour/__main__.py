"""Walk a new user's first hour, and keep a picture of every screen.

    python -m tests.first_hour PICTURES [--only SCENE ...]

It takes about 12 minutes on 2 cores.  It needs tmux, Chromium with its chromedriver, and pdftoppm.
It ends with an error where a screen does not show what it must, after all pictures are taken.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.first_hour.album import Album
from tests.first_hour.scenes import SCENES, Walk
from tests.support.browser import started
from tests.support.paths import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.first_hour")
    parser.add_argument("pictures", type=Path, help="the folder for the pictures")
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES), metavar="SCENE",
                        help=f"scenes to play, of {', '.join(SCENES)}")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="work here, and keep it (a fresh one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="first-hour-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with started(folder / "browser") as browser:
            walk = Walk(folder.resolve(), Album(options.pictures.resolve(), browser), browser)
            if not (folder / "search_spaces").exists():
                shutil.copytree(ROOT / "search_spaces", folder / "search_spaces")
            for scene in options.only:
                print(f"-- {scene}", flush=True)
                SCENES[scene](walk)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    for each in walk.complaints:
        print(each, file=sys.stderr)
    return 1 if walk.complaints else 0


if __name__ == "__main__":
    os.environ.pop("NO_COLOR", None)
    sys.exit(main())
