"""The layers of a sweep: the file, a profile over it, `--set` over both, each with its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec.similar_file import similar_file
from orchestrator.spec.yaml_lines import MAX_CHARACTERS, Path, YamlError, read
from trainer.config import ConfigError, Problem, did_you_mean

#: Characters of a `--set` key that can be one.
_LONGEST_KEY = 200
#: Characters of what was written that a message repeats.
_REPEATED = 80


def shortened(text: str) -> str:
    """What was written, as a message repeats it."""
    return text if len(text) <= _REPEATED else f"{text[:_REPEATED]}..."


#: After so many mistakes a file is not read on.
MAX_MISTAKES = 200


@dataclass
class Draft:
    """A sweep as written: plain values, file and line of every path, mistakes so far."""

    file: str
    value: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, tuple[str, int | None]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    #: The top-level keys that a profile or `--set` changes.
    changed: set[str] = field(default_factory=set)
    _reported: set[Problem] = field(default_factory=set)

    def error(self) -> ConfigError:
        """All mistakes so far, in the order of their lines."""
        ordered = sorted(self.problems, key=lambda p: (p.file != self.file, p.line or 0))
        return ConfigError(ordered, all_found=len(ordered) < MAX_MISTAKES)

    def report(self, path: Path, message: str, allowed: str = "") -> None:
        """Add a mistake at the line of `path`, or of the nearest path above it.

        Raises `ConfigError` once there are so many that looking for more would take long.
        """
        near = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.places), ())
        file, line = self.places.get(near, (self.file, None))
        problem = Problem(dotted(path), message, allowed, file, line)
        if problem not in self._reported:
            self._reported.add(problem)
            self.problems.append(problem)
        if len(self.problems) >= MAX_MISTAKES:
            raise self.error()


def dotted(path: Path) -> str:
    """`("space", "lambda", "choices", 0)` as `space.lambda.choices[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_layers(file: str, profile: str | None, overrides: list[str]) -> Draft:
    """File, profile and `--set` in one draft; raises `ConfigError` if they cannot be read."""
    draft = _read_file(file)
    profiles = draft.value.pop("profiles", None)
    if profiles is not None and not isinstance(profiles, dict):
        draft.report(("profiles",), "not a mapping of names to overrides")
        profiles = {}
    if profile is not None:
        _apply_profile(draft, profiles or {}, profile)
    for path in [path for path in draft.places if path[0] == "profiles"]:
        del draft.places[path]
    for override in overrides:
        _apply_override(draft, override)
    for key in [key for key, value in draft.value.items() if value is None]:
        del draft.value[key]  # an empty section
    return draft


def profile_names(file: str) -> list[str]:
    """The names of a file's profiles; raises `ConfigError` if it cannot be read."""
    profiles = _read_file(file).value.get("profiles")
    return list(map(str, profiles)) if isinstance(profiles, dict) else []


def _read_file(file: str) -> Draft:
    try:
        with open(file, encoding="utf-8") as stream:
            document = read(stream.read(MAX_CHARACTERS + 1))  # it may be a device without end
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"cannot be read: {reason}{similar_file(file)}"
        raise ConfigError([Problem("", message, file=file)]) from error
    except YamlError as error:
        raise ConfigError([Problem("", error.message, file=file, line=error.line)]) from error
    if not isinstance(document.value, dict):
        raise ConfigError([Problem("", "not a mapping of keys to values", file=file, line=1)])
    draft = Draft(file, document.value)
    draft.places = {path: (file, line) for path, line in document.lines.items()}
    for twice in document.duplicates:
        message = f"appears twice (first in line {twice.first_line})"
        draft.problems.append(Problem(dotted(twice.path), message, file=file, line=twice.line))
    return draft


def _apply_profile(draft: Draft, profiles: Mapping[str, Any], name: str) -> None:
    if name not in profiles:
        names = [str(known) for known in profiles]
        known = ", ".join(sorted(names)) or "the file declares none"
        message = f"unknown profile {name!r}{did_you_mean(name, names)}"
        problem = Problem("--profile", message, known, draft.file)
        raise ConfigError([*draft.problems, problem])
    layer = profiles[name]
    source: Path = ("profiles", name)
    if not isinstance(layer, dict):
        draft.report(source, "not a mapping of keys to values")
        return
    if "name" not in layer and isinstance(draft.value.get("name"), str):
        # With its own folder, the trials of a rehearsal never mix with those of the real sweep.
        draft.value["name"] += f"-{name}"
    if "profiles" in layer:
        draft.report((*source, "profiles"), "a profile cannot have profiles")
    draft.changed |= {str(key) for key in layer}
    _merge(draft, draft.value, layer, (), source)


def _merge(
    draft: Draft, target: dict[str, Any], layer: dict[str, Any], path: Path, source: Path
) -> None:
    """Lay `layer` over `target`: mappings key by key; null removes a key; other values replace.

    A dimension of the space is replaced as a whole, because `choices` with the old `low` and `high`
    would make no sense.
    """
    for key, value in layer.items():
        here, there = (*path, key), (*source, key)
        old = target.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and path != ("space",):
            draft.places[here] = draft.places[there]
            _merge(draft, old, value, here, there)
            continue
        _forget(draft, here)
        if value is None:
            target.pop(key, None)
            continue
        target[key] = value
        for written, place in list(draft.places.items()):
            if written[: len(there)] == there:
                draft.places[here + written[len(there) :]] = place


def _apply_override(draft: Draft, override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key or len(key) > _LONGEST_KEY:
        shown = shortened(override)
        draft.problems.append(Problem(shown, "not of the form key=value", file="--set"))
        return
    try:
        value = read(text).value
    except YamlError as error:
        message = f"{shortened(text)!r}: {error.message}"
        draft.problems.append(Problem(key, message, file="--set"))
        return
    if key == "name" and isinstance(value, int | float):
        message = f"{text} is a number; quote it twice: --set 'name=\"{text}\"'"
        draft.problems.append(Problem(key, message, file="--set"))
        return
    path: Path = ()
    node, rest = draft.value, key.split(".")
    draft.changed.add(rest[0])
    while True:
        part, rest = _next_part(node, rest)
        path = (*path, part)
        if not rest:
            break
        inner = node.get(part)
        if inner is None:
            inner = node[part] = {}
        if not isinstance(inner, dict):
            message = f"{dotted(path)} is not a mapping"
            draft.problems.append(Problem(key, message, file="--set"))
            return
        node = inner
        draft.places.setdefault(path, ("--set", None))
    _forget(draft, path)
    if value is None:
        node.pop(part, None)
    else:
        node[part] = value
        draft.places[path] = ("--set", None)


def _next_part(node: Mapping[str, Any], parts: list[str]) -> tuple[str, list[str]]:
    """The longest key of `node` at the start of `parts`: a dimension can be `data.limit.qqp`."""
    for length in range(len(parts), 1, -1):
        joined = ".".join(parts[:length])
        if joined in node:
            return joined, parts[length:]
    return parts[0], parts[1:]


def _forget(draft: Draft, path: Path) -> None:
    for written in [p for p in draft.places if p[: len(path)] == path]:
        del draft.places[written]
