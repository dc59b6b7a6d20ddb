"""What `kubectl apply -k` sends: as much of kustomize as docker/k8s uses, in Python.

A test compares it with the real program where that is installed.  Anything else in a
kustomization.yaml is an error here, so that nothing is silently left out.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_KEYS = {"apiVersion", "kind", "resources", "components", "images", "patches", "namespace"}
#: Kinds that are in no namespace.
_WHOLE_CLUSTER = ("Namespace",)


def build(folder: Path) -> list[Manifest]:
    """The manifests of a folder with a kustomization.yaml."""
    about = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(about) <= _KEYS, f"{folder}: unknown to this renderer: {set(about) - _KEYS}"
    made: list[Manifest] = []
    for name in about.get("resources", []):
        made += build(folder / name) if (folder / name).is_dir() else documents(folder / name)
    for name in about.get("components", []):
        made = _with_component(made, folder / name)
    return _transformed(made, about, folder)


def documents(file: Path) -> list[Manifest]:
    """The documents of a file, each a tree of its own: YAML's anchors share their parts."""
    return [copy.deepcopy(_unshared(made)) for made in yaml.safe_load_all(file.read_text())]


def _with_component(made: list[Manifest], folder: Path) -> list[Manifest]:
    """A component adds resources, and patches what there is by then."""
    about = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert about["kind"] == "Component" and set(about) <= _KEYS
    added = [each for name in about.get("resources", []) for each in documents(folder / name)]
    return _transformed([*made, *added], about, folder)


def _transformed(made: list[Manifest], about: Manifest, folder: Path) -> list[Manifest]:
    for patch in about.get("patches", []):
        (kind,) = patch["target"].values()
        for each in made:
            if each["kind"] == kind:
                for operation in yaml.safe_load((folder / patch["path"]).read_text()):
                    _apply(each, copy.deepcopy(operation))
    for image in about.get("images", []):
        for each in made:
            _set_image(each, image)
    for each in made:
        if "namespace" in about and each["kind"] not in _WHOLE_CLUSTER:
            each["metadata"]["namespace"] = about["namespace"]
    return made


def _apply(target: Any, operation: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902): `add` or `replace`."""
    *way, last = (
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
    )
    for part in way:
        target = target[int(part) if isinstance(target, list) else part]
    if isinstance(target, list):
        assert (operation["op"], last) == ("add", "-"), operation
        target.append(operation["value"])
        return
    assert (operation["op"] == "replace") == (last in target), operation
    target[last] = operation["value"]


def _set_image(part: Any, image: dict[str, str]) -> None:
    if isinstance(part, list):
        for each in part:
            _set_image(each, image)
    if isinstance(part, dict):
        if part.get("image") == image["name"]:
            part["image"] = f"{image['newName']}:{image['newTag']}"
        for each in part.values():
            _set_image(each, image)


def _unshared(part: Any) -> Any:
    """The same tree, with a copy at every place that refers to one node."""
    if isinstance(part, dict):
        return {key: _unshared(each) for key, each in part.items()}
    return [_unshared(each) for each in part] if isinstance(part, list) else part
