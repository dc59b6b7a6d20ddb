"""What one trial is: its config, checked whole before anything starts.

Light: reading and checking a config loads neither torch nor any data.
"""

from trainer.config.data_config import DataConfig
from trainer.config.fields import ConfigError, Problem, describe, did_you_mean, unknown_key
from trainer.config.train_config import TrainConfig, check, field_at, fields_of

__all__ = [
    "ConfigError",
    "DataConfig",
    "Problem",
    "TrainConfig",
    "check",
    "describe",
    "did_you_mean",
    "field_at",
    "fields_of",
    "unknown_key",
]
