"""What a file in a folder may be at most: anybody may have written it.

A file beyond its limit is refused before it is read.  The limits are far above what trials write.
"""

from __future__ import annotations

_MB = 2**20
#: The end of a file's name -> its size in bytes at most.
_SIZES = {
    ".json": 16 * _MB,
    ".yaml": 4 * _MB,
    ".txt": 4 * _MB,
    ".parquet": 256 * _MB,
    ".safetensors": 16 * 1024 * _MB,
}
#: Of files with any other name, such as a lock.
_OTHER = 16 * _MB

#: JSON: lists and mappings within each other, values in one file, and the largest whole number.
MAX_DEPTH, MAX_VALUES, LARGEST = 50, 300_000, 2**63 - 1

#: Predictions: rows, and bytes of their columns before compression.
MAX_ROWS, MAX_DECODED = 2_000_000, 512 * _MB


def most_bytes(name: str) -> int:
    """The size in bytes that a file of this name has at most."""
    stem, dot, ending = name.rpartition(".")
    return _SIZES.get(dot + ending, _OTHER)
