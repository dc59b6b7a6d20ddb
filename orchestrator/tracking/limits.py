"""MLflow's limits on names and texts.

What is longer, or has characters that MLflow refuses, is changed for MLflow alone.  Otherwise
MLflow refuses the whole run because of one name.
"""

from __future__ import annotations

import re

#: Characters of a name of a metric, of a parameter or of a tag, and of a run's name.
NAME = 250
#: Of a parameter's value.
PARAMETER = 6_000
#: Of the value of a run's tag, and of an experiment's.
TAG, EXPERIMENT_TAG = 8_000, 20_000
#: Of a data set's name, digest, source and schema.
DATASET_NAME, DATASET_DIGEST, DATASET_SOURCE, DATASET_SCHEMA = 500, 36, 65_535, 1_048_575

#: MLflow refuses a colon on some systems only.
_REFUSED = re.compile(r"[^\w.\- ]")


def shortened(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def part_of_name(text: str) -> str:
    """A text as MLflow takes it for a part of a name: `qqp|sst` becomes `qqp_sst`."""
    return "_" if text.strip(".") == "" else _REFUSED.sub("_", text)


def name(text: str) -> str:
    """A text as MLflow takes it for a whole name without slashes."""
    return part_of_name(text)[:NAME]
