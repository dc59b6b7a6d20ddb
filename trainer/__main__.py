"""Train one config, or resume it.

    python -m trainer --config config.json --out DIR

prints one line per epoch and writes the trial directory DIR.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from typing import Any

import torch

from trainer.combiners.base import CombinerError
from trainer.config import ConfigError, Problem, TrainConfig, config_in_file
from trainer.data.corpus import DataError
from trainer.loop.device import (
    PrecisionError,
    choose_device,
    explain_device,
    explain_precision,
    hardware_of,
    resolve_precision,
)
from trainer.model.freezing import FreezeError
from trainer.model.pretrained import EncoderError
from trainer.printable import PrintableStream
from trainer.samplers import SamplerError
from trainer.storage.trial_directory import OutOfSpace, StoreError, TrialDirectory
from trainer.train import Diverged, EpochResult, kept_precision, train

_EPILOG = """example:
  python -m trainer --config config.json --out runs/first

with config.json:
  {"data": {"source": "synthetic"}, "encoder": "tiny", "sampler": "arrp", "B": 320,
   "lambda": 0.5, "epochs": 3, "learning_rate": 0.001, "batch_size": 16}

A trial of a sweep trains again from its own config.json:
  python -m trainer --config sweeps/arrp/trials/TRIAL/config.json --out runs/again

exit codes: 0 trained, 1 the training failed, 2 the input is wrong, 130 interrupted
(run the same command again to resume).
"""


#: Bytes of a config file that can be one.
_LONGEST = 1_000_000
_MISTAKES = (
    DataError, EncoderError, CombinerError, FreezeError, PrecisionError, SamplerError, StoreError,
    OSError,
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train one multi-task config into a trial directory, or resume it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", required=True, help="JSON file with the config, or a trial's config.json"
    )
    parser.add_argument("--out", required=True, help="trial directory: a folder or a URI")
    parser.add_argument("--json", action="store_true", help="print each epoch's record as JSON")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        content = _read(options.config)
        config = TrainConfig.from_dict(config_in_file(content))
        # What a trial's `precision: auto` became, so that its epochs come out the same.
        kept = {"precision": content["precision"]} if {"config", "precision"} <= {*content} else {}
        if (store := TrialDirectory(options.out)).end() is None:
            logging.getLogger("trainer").info(_surroundings(config, store, kept))
        for result in train(config, options.out, identity=kept):
            print(json.dumps(result.record) if options.json else _line(result, config), flush=True)
        return _finish(options.out, options.json)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{options.config}: {problem}", file=sys.stderr)
        return 2
    except OutOfSpace as error:
        print(f"failed: {error}; free some space and run the same command again", file=sys.stderr)
        return 1
    except _MISTAKES as error:
        print(error, file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"failed: diverged: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130


def _read(path: str) -> Any:
    """The content of a JSON file; raises `ConfigError` if it is not one, or too long."""
    with open(path, "rb") as file:
        content = file.read(_LONGEST + 1)  # it may be a device without end
    if len(content) > _LONGEST:
        raise ConfigError([Problem("", f"is longer than {_LONGEST:,} bytes")])
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start + 1:,}"
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}: not JSON: {error.msg}"
    except RecursionError:
        message = "too many lists and objects within each other"
    except ValueError:
        message = "a number with too many digits"  # thousands of them
    raise ConfigError([Problem("", message)])


def _surroundings(config: TrainConfig, store: TrialDirectory, kept: dict[str, Any]) -> str:
    """What depends on this host: precision, device, threads."""
    device = choose_device(config.device)
    precision = resolve_precision(config.precision, device, kept_precision(store, kept))
    threads = config.threads or f"{torch.get_num_threads()} (as many as torch takes here)"
    return (
        f"precision: {explain_precision(config.precision, precision, [hardware_of(device)])}, "
        f"device: {explain_device(config.device, device.type)}"
        f"{', deterministic' if config.deterministic else ''}, threads: {threads}"
    )


def _line(result: EpochResult, config: TrainConfig) -> str:
    record = result.record
    tasks = "  ".join(
        f"{name} {values['dev_metric']:.3f}"
        for name, values in record["tasks"].items()
        if "dev_metric" in values
    )
    return (
        f"epoch {result.epoch}/{config.epochs}  dev_score {record['dev_score']:.4f}  {tasks}  "
        f"{record['minutes_per_epoch']:.3f} min  {record['examples']} examples"
    )


def _finish(out: str, as_json: bool) -> int:
    end = TrialDirectory(out).end() or {}
    if not as_json:
        print(f"{end.get('status')}: {out}")
    return 0 if end.get("status") == "complete" else 1


if __name__ == "__main__":
    sys.stdout, sys.stderr = PrintableStream(sys.stdout), PrintableStream(sys.stderr)
    sys.exit(main())
