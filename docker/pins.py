#!/usr/bin/env python3
"""The hashes of the pinned packages, and what is known against their versions.

    python docker/pins.py hashes                 write constraints-hashes.txt anew
    python docker/pins.py needs cluster,minilm   what an image with these extras installs
    python docker/pins.py advisories             ask the package index about every pin

`hashes` and `advisories` need a network.  The package index is pip's own, or the one of `--index`.
`needs` needs none, and no package: it runs while the image is built.

`advisories` exits with 1 if a pin has an advisory, and with 2 if some could not be asked about.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
HASHES = ROOT / "constraints-hashes.txt"

#: The image installs with this pip: an older one does not accept hashes in a constraints file.
PIP = "pip==26.3"
#: What the image runs on: wheels for other systems get no hash.
PYTHON = 11
MACHINES = ("x86_64", "aarch64")
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = {"Accept": f"{SIMPLE_JSON}, application/json;q=0.5"}
TIMEOUT_SECONDS = 30
Answer = TypeVar("Answer")

HEAD = f"""\
# The packages of constraints.txt, and what PyTorch's CUDA build adds, each with the sha256 of its
# files.  The image installs with this file (docker/Dockerfile): pip then refuses other files.
# It holds wheels for Linux ({", ".join(MACHINES)}), CPython 3.{PYTHON}.  The README's commands do
# not use it, because pip cannot install this folder in place (-e .) once a hash is given.
# A PyTorch that is not PyPI's (a CPU build, a wheel of your own) has no hash here.  The target
# `cpu` of the image installs it first, by its version alone.
# Made by: python docker/pins.py hashes
"""


class PinsError(Exception):
    """A mistake of the user or of the network, in one line."""


@dataclass(frozen=True)
class Pin:
    name: str
    version: str

    @property
    def key(self) -> str:
        """The name as package indexes write it (PEP 503)."""
        return re.sub(r"[-_.]+", "-", self.name).lower()


def pins(file: Path) -> list[Pin]:
    """The pins of a constraints file, with or without hashes."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", file.read_text(), re.MULTILINE)
    return [Pin(*pair) for pair in found]


# --- asking a package index ---


def index_address(given: str | None) -> str:
    """The address of the simple index: `--index`, pip's setting, or pip's default."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    address = given or os.environ.get("PIP_INDEX_URL") or answer.stdout.strip()
    if not address:
        try:
            from pip._internal.models.index import PyPI
        except ImportError:
            raise PinsError("pip does not say which index it uses; give --index") from None
        address = PyPI.simple_url
    return str(address).rstrip("/")


def ask(address: str) -> dict[str, Any]:
    """The JSON at this address.  OSError (HTTPError, URLError, timeouts), or ValueError."""
    if not address.startswith(("http://", "https://")):
        raise PinsError(f"{address}: is no address of a package index; allowed: http, https")
    with urllib.request.urlopen(
        urllib.request.Request(address, headers=ACCEPT), timeout=TIMEOUT_SECONDS
    ) as answer:
        found = json.load(answer)
    if not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")
    return found


def for_each(asked: Callable[[Pin], Answer], of: Iterable[Pin]) -> list[Answer]:
    """The answers about these pins, in their order; many are on their way at once."""
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(asked, of))


# --- hashes ---


def fits(filename: str, version: str) -> bool:
    """Is this file of a package index a wheel of that version that the image could install?"""
    if not filename.endswith(".whl"):
        return False
    _, of_version, *_, pythons, abis, platforms = filename.removesuffix(".whl").split("-")
    stable_abi = "abi3" in abis.split(".") and any(
        (found := re.fullmatch(r"cp3(\d+)", python)) and int(found[1]) <= PYTHON
        for python in pythons.split(".")
    )
    return (
        of_version == version
        and (stable_abi or {"py3", f"py3{PYTHON}", f"cp3{PYTHON}"} & {*pythons.split(".")} != set())
        and (stable_abi or {"none", f"cp3{PYTHON}"} & {*abis.split(".")} != set())
        and any(_for_linux(platform) for platform in platforms.split("."))
    )


def _for_linux(platform: str) -> bool:
    return platform == "any" or (
        platform.startswith(("manylinux", "linux")) and platform.endswith(MACHINES)
    )


def hashes_of(index: str, pin: Pin) -> list[str]:
    """The sha256 of this version's wheels; of its source archive where there is no wheel."""
    try:
        files = ask(f"{index}/{pin.key}/")["files"]
    except (OSError, ValueError, KeyError) as error:
        raise PinsError(f"{pin.name}: {index} does not answer as an index ({error})") from error
    archives = {f"{stem}-{pin.version}.tar.gz" for stem in (pin.name, pin.key.replace("-", "_"))}
    found = [file for file in files if fits(file["filename"], pin.version)] or [
        file for file in files if file["filename"] in archives
    ]
    if not found:
        raise PinsError(f"{pin.name}: {index} has no file of version {pin.version} for the image")
    return sorted({file["hashes"]["sha256"] for file in found})


def cuda_packages(index: str, torch: Pin) -> list[Pin]:
    """What PyTorch's CUDA build needs, as pip resolves it beside constraints.txt."""
    with tempfile.TemporaryDirectory() as folder:
        new_environment = [sys.executable, "-m", "venv", folder]
        pip = [f"{folder}/bin/python", "-m", "pip", "--isolated", "--disable-pip-version-check"]
        for command in (
            new_environment,
            [*pip, "install", "--quiet", "--index-url", index, PIP],
            [*pip, "install", "--quiet", "--index-url", index, "--dry-run", "--ignore-installed",
             "--report", f"{folder}/report", "-c", str(CONSTRAINTS), f"torch=={torch.version}"],
        ):  # fmt: skip
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                raise PinsError(f"pip did not resolve PyTorch's packages: {answer.stderr[-500:]}")
        report = json.loads(Path(folder, "report").read_text())
    return [Pin(of["metadata"]["name"], of["metadata"]["version"]) for of in report["install"]]


def write_hashes(options: argparse.Namespace) -> int:
    index = index_address(options.index)
    wanted = {pin.key: pin for pin in pins(CONSTRAINTS)}
    [torch] = [pin for pin in wanted.values() if pin.name == "torch"]
    for pin in (*cuda_packages(index, torch), Pin(*PIP.split("=="))):
        wanted.setdefault(pin.key, pin)
    ordered = [wanted[key] for key in sorted(wanted)]
    lines = [
        " ".join([f"{pin.name}=={pin.version}", *(f"--hash=sha256:{found}" for found in hashes)])
        for pin, hashes in zip(
            ordered, for_each(lambda pin: hashes_of(index, pin), ordered), strict=True
        )
    ]
    HASHES.write_text(HEAD + "\n".join(lines) + "\n")
    print(f"{HASHES}: {len(lines)} packages, {sum(line.count('--hash') for line in lines)} files")
    return 0


# --- what the image installs ---


def needs(options: argparse.Namespace) -> int:
    """The requirements of the package with these extras, and of its build, a line each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"]
    extras = [extra for extra in options.extras.split(",") if extra]
    if unknown := [extra for extra in extras if extra not in optional]:
        raise PinsError(f"unknown extra: {unknown[0]}; allowed: {', '.join(sorted(optional))}")
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in extras:
        wanted += optional[extra]
    print("\n".join(wanted))
    return 0


# --- advisories ---


@dataclass(frozen=True)
class Asked:
    """What an index says about one pin: its advisories, or why they are not known."""

    pin: Pin
    advisories: tuple[str, ...] = ()
    unknown: str = ""


def advisories_of(index: str, pin: Pin) -> Asked:
    """What the index's JSON pages serve about this version.

    A mirror may have only the page of the package, which speaks about its newest version.
    """
    pages = f"{index.removesuffix('/simple')}/pypi/{pin.key}"
    for address in (f"{pages}/{pin.version}/json", f"{pages}/json"):
        try:
            page = ask(address)
        except urllib.error.HTTPError as error:
            said = f"the index answers {error.code}"
        except (OSError, ValueError) as error:
            return Asked(pin, unknown=f"the index does not answer ({error})")
        else:
            if page.get("info", {}).get("version") == pin.version:
                known = page.get("vulnerabilities") or ()
                return Asked(pin, tuple(_sentence(one) for one in known if not one["withdrawn"]))
            said = "the index speaks only about its newest version"
    return Asked(pin, unknown=said)


def _sentence(advisory: dict[str, Any]) -> str:
    names = ", ".join([advisory["id"], *advisory.get("aliases", [])])
    fixed = ", ".join(advisory.get("fixed_in") or ()) or "no version yet"
    about = advisory.get("summary") or advisory.get("details") or "no description"
    return f"{names}; fixed in {fixed}: {' '.join(str(about).split())[:200]}"


def tell_advisories(options: argparse.Namespace) -> int:
    index = index_address(options.index)
    asked = for_each(lambda pin: advisories_of(index, pin), pins(options.file))
    for answer in asked:
        for advisory in answer.advisories:
            print(f"{answer.pin.name} {answer.pin.version}: {advisory}")
    unknown = [answer for answer in asked if answer.unknown]
    for reason in sorted({answer.unknown for answer in unknown}):
        named = [answer.pin.name for answer in unknown if answer.unknown == reason]
        print(f"not known, because {reason}: {', '.join(named)}")
    bad = [answer for answer in asked if answer.advisories]
    print(
        f"{len(asked) - len(unknown)} of {len(asked)} packages asked about; "
        f"{len(bad)} with an advisory"
    )
    return 1 if bad else 2 if unknown else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for_hashes = commands.add_parser("hashes", help="write constraints-hashes.txt anew")
    for_hashes.set_defaults(does=write_hashes)
    for_needs = commands.add_parser("needs", help="what an image with these extras installs")
    for_needs.add_argument("extras", help="as in cluster,minilm")
    for_needs.set_defaults(does=needs)
    for_advisories = commands.add_parser("advisories", help="ask the package index about every pin")
    for_advisories.add_argument(
        "--file", type=Path, default=CONSTRAINTS, help="default: constraints.txt"
    )
    for_advisories.set_defaults(does=tell_advisories)
    for command in (for_hashes, for_advisories):
        command.add_argument("--index", metavar="URL", help="a simple index; default: pip's own")
    options = parser.parse_args()
    try:
        return int(options.does(options))
    except PinsError as error:
        print(f"pins: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
