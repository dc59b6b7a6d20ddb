"""Sweeps over ways of training one model on several tasks: propose, schedule, record, compare."""

__version__ = "0.1.0"
