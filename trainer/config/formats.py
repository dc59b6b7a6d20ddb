"""Formats of configs: an old config in today's keys.

`config.json` of a trial and `sweep.yaml` of a sweep name their format (`format`; 1 if they name
none).  A format ends where a key gets another default or another meaning.  `translate` writes out
what the old format meant, so that an old trial keeps its meaning, its id and its name.
docs/reference/methods.md lists the formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trainer.config.fields import ConfigError, Problem

if TYPE_CHECKING:
    from trainer.config.train_config import TrainConfig

#: The format that is written today.
FORMAT = 2
#: The format of files that name none.
FIRST_FORMAT = 1


def translate(mapping: Mapping[str, Any], written_in: Any) -> dict[str, Any]:
    """A config of the format `written_in`, in the keys of today.  Keys that it gives stay.

    Raises:
        ConfigError: a newer version wrote it, or `written_in` is no format.
    """
    if type(written_in) is not int or not FIRST_FORMAT <= written_in <= FORMAT:
        message = f"{written_in!r} is not a format that this version knows"
        raise ConfigError([Problem("format", message, f"{FIRST_FORMAT} to {FORMAT}")])
    translated = dict(mapping)
    for step in range(written_in, FORMAT):
        translated = _STEPS[step](translated)
    return translated


def stored_config(description: Mapping[str, Any]) -> dict[str, Any]:
    """The config in a trial's config.json, in the keys of today.  Raises `ConfigError`."""
    config = description.get("config")
    if not isinstance(config, Mapping):
        raise ConfigError([Problem("config", "not a mapping of keys to values")])
    return translate(config, description.get("format", FIRST_FORMAT))


def config_in_file(content: Any) -> Any:
    """The config of a file, in the keys of today: the file is one, or a trial's config.json.

    Raises `ConfigError` as `stored_config`.
    """
    if isinstance(content, Mapping) and "config" in content:
        return stored_config(content)
    return content


def described(config: TrainConfig) -> dict[str, Any]:
    """The keys of config.json that say what a trial is."""
    return {"format": FORMAT, "config": config.to_dict(), "canonical": config.canonical()}


def changes(written_in: int) -> tuple[str, ...]:
    """What a config of this format means differently from today's, in sentences for people."""
    return tuple(text for step in range(written_in, FORMAT) for text in _CHANGES[step])


#: `dropout` of format 1 where a config does not give it.
_FIRST_DROPOUT = 0.3
#: SMART's defaults of format 1.
_FIRST_SMART: dict[str, Any] = {
    "smart_radius": "absolute",
    "smart_epsilon": 1e-5,
    "smart_step_size": 1e-3,
    "smart_noise": 1e-5,
}


def _to_second(config: dict[str, Any]) -> dict[str, Any]:
    """Format 1: `dropout` acted in the encoder too, every task was cut at 128 tokens, and SMART's
    sizes were numbers."""
    config.setdefault("encoder_dropout", config.get("dropout", _FIRST_DROPOUT))
    for key, value in _FIRST_SMART.items():
        config.setdefault(key, value)
    data = config.get("data", {})
    if isinstance(data, Mapping):
        config["data"] = {"max_length": 128, **data}
    return config


#: Format -> the function from it to the next one.
_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _to_second}
#: Format -> what it means differently from the next one.
_CHANGES: dict[int, tuple[str, ...]] = {
    1: (
        "dropout acts before a head, and in the encoder on embeddings and layers; since format 2 "
        "it acts before a head, and encoder_dropout (0.1) in the encoder",
        "every task is cut at 128 tokens; since format 2 cfimdb and yelp have 512",
        "SMART moves embeddings by at most 1e-5, which does nothing; since format 2 it moves them "
        "by their own size (smart_radius: relative)",
    )
}
