"""The config of a trial, checked completely before anything starts.

Reading and checking a config imports neither torch nor any data.
"""

from trainer.config.data_config import DataConfig
from trainer.config.fields import (
    ConfigError,
    Problem,
    describe,
    did_you_mean,
    most_similar,
    unknown_key,
)
from trainer.config.formats import FORMAT, config_in_file, described, stored_config, translate
from trainer.config.train_config import TrainConfig, check, field_at, fields_of

__all__ = [
    "FORMAT",
    "ConfigError",
    "DataConfig",
    "Problem",
    "TrainConfig",
    "check",
    "config_in_file",
    "describe",
    "described",
    "did_you_mean",
    "most_similar",
    "field_at",
    "fields_of",
    "stored_config",
    "translate",
    "unknown_key",
]
