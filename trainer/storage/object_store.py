"""Folders in an object store, through pyarrow: `s3://bucket/prefix`, or any other URI it knows.

A URI's options are those of pyarrow (`?endpoint_override=...&scheme=http&region=...`).  Credentials
come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `~/.aws`).
`AWS_MAX_ATTEMPTS` (default 4) limits how often a request to S3 is tried.

If a store answered before and does not answer now, its requests are repeated for
`ORCH_STORE_PATIENCE` seconds (default 60).  If it never answered, the first failure is an error,
because its address may be wrong.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pyarrow import fs

from trainer.storage.folder import Folder, Refused, StoreError, in_words
from trainer.storage.limits import most_bytes

logger = logging.getLogger("trainer")

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5
_PATIENCE_S, _PAUSE_S = 60.0, 1.0
#: Stores that have answered, by the names that `_store` gives them.
_reached: set[str] = set()
#: Words in the errors of a store that is away or overloaded for a while.
_TEMPORARY = (
    "NETWORK_CONNECTION",
    "SERVICE_UNAVAILABLE",
    "SLOW_DOWN",
    "INTERNAL_FAILURE",
    "REQUEST_TIMEOUT",
    "HTTP status 50",
)
_CREDENTIALS = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws"
#: Words in an object store's errors -> what they mean and what to do.
_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; create it first",
    "ACCESS_DENIED": f"access is denied; {_CREDENTIALS}",
    "INVALID_ACCESS_KEY_ID": f"access is denied; {_CREDENTIALS}",
    "SIGNATURE_DOES_NOT_MATCH": f"access is denied; {_CREDENTIALS}",
    "NETWORK_CONNECTION": "does not answer; check the network and endpoint_override",
}


@functools.lru_cache(maxsize=64)  # looking up a bucket's region costs a request
def open_remote(uri: str) -> RemoteFolder:
    """The folder at a URI.  Raises `StoreError` if pyarrow does not understand the URI."""
    scheme, _, rest = uri.partition("://")
    user, at, place = rest.partition("@")
    if at and ":" in user:
        raise StoreError(
            f"{scheme}://{place}: the address must not contain a password; {_CREDENTIALS}"
        )
    base, mark, options = uri.partition("?")
    if not rest.partition("?")[0].strip("/"):
        raise StoreError(f"{uri}: names no bucket; for example s3://bucket/sweeps")
    uri = base.rstrip("/") + mark + options
    try:
        filesystem, root = _with_retries(uri, lambda: fs.FileSystem.from_uri(uri))
    except (ValueError, OSError, NotImplementedError) as error:
        raise StoreError(f"{uri}: {_reason(error)}") from error
    if isinstance(filesystem, fs.S3FileSystem):
        filesystem = _configured(filesystem)
    return RemoteFolder(uri, filesystem, root.rstrip("/"))


def mark_reached(uri: str) -> None:
    """Note that this store has answered, so that later failures are repeated for a while."""
    _reached.add(_store(uri))


class RemoteFolder(Folder):
    """A folder in an object store, through pyarrow."""

    def __init__(self, path: str, filesystem: Any, root: str):
        super().__init__(path)
        self._filesystem = filesystem
        self._root = root

    @property
    def name(self) -> str:
        return self._root.rpartition("/")[2]

    @property
    def parent(self) -> RemoteFolder:
        base, mark, options = self.path.partition("?")
        return open_remote(base.rpartition("/")[0] + mark + options)

    def child(self, name: str) -> RemoteFolder:
        path = self._shown(self._within(name))
        return RemoteFolder(path, self._filesystem, f"{self._root}/{name}")

    def write(self, name: str, content: bytes) -> str:
        self._request(lambda: self._put(self._target(name), content))
        return hashlib.sha256(content).hexdigest()

    def read(self, name: str) -> bytes | None:
        target, most = self._target(name), most_bytes(name)

        def get() -> bytes | None:
            try:
                with self._filesystem.open_input_file(target) as file:
                    if (size := file.size()) > most:
                        raise Refused(self._shown(name), f"is larger than {in_words(most)}")
                    return bytes(file.read(size))
            except FileNotFoundError:
                return None
            except OSError as error:
                if "Not a regular file" in str(error):
                    raise Refused(self._shown(name), "is a folder, not a regular file") from error
                raise

        return self._request(get)

    def has(self, name: str) -> bool:
        target = self._target(name)
        info = self._request(lambda: self._filesystem.get_file_info(target))
        return bool(info.type != fs.FileType.NotFound)

    def names(self, name: str = "") -> list[str]:
        return sorted(info.base_name for info in self._list(name))

    def folders(self) -> list[str]:
        entries = self._list("")
        return sorted(info.base_name for info in entries if info.type == fs.FileType.Directory)

    def delete(self, name: str) -> None:
        target = self._target(name)

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                if self._filesystem.get_file_info(target).type == fs.FileType.Directory:
                    self._filesystem.delete_dir(target)
                else:
                    self._filesystem.delete_file(target)

        self._request(remove)

    def delete_partial_files(self) -> None:
        """There are none, because a put is complete or does not happen."""

    def free(self) -> int | None:
        return None

    def _list(self, name: str) -> list[Any]:
        target = self._target(name) if name else self._root
        selector = fs.FileSelector(target, allow_not_found=True)
        return self._request(lambda: list(self._filesystem.get_file_info(selector)))

    def _shown(self, name: str) -> str:
        """The URI of a file or a folder in it."""
        base, mark, options = self.path.partition("?")
        return f"{base}/{name}{mark}{options}"

    def _target(self, name: str) -> str:
        return f"{self._root}/{self._within(name)}"

    def _put(self, target: str, content: bytes) -> None:
        stream = self._filesystem.open_output_stream(target)
        try:
            stream.write(content)
            stream.close()
        except BaseException:
            # A stream can only be closed, and that may put a file that is not complete.
            with contextlib.suppress(OSError, ValueError):
                stream.close()
                self._filesystem.delete_file(target)
            raise

    def _request(self, action: Callable[[], T]) -> T:
        try:
            result = _with_retries(self.path, action)
        except OSError as error:
            raise StoreError(f"{self.path}: {_reason(error)}") from error
        mark_reached(self.path)
        return result


def _with_retries(uri: str, action: Callable[[], T]) -> T:
    """Repeat an action while a store that answered before is away.  Raises its last `OSError`.

    Every action can be repeated: a put writes a whole file, and deleting a missing file is fine.
    """
    store, begun = _store(uri), time.monotonic()
    failed = False
    while True:
        try:
            result = action()
        except OSError as error:
            waited = time.monotonic() - begun
            temporary = any(word in str(error) for word in _TEMPORARY)
            if not temporary or store not in _reached or waited + _PAUSE_S > _patience():
                _reached.discard(store)  # so that later requests do not all wait again
                raise
            failed = True
            time.sleep(_PAUSE_S)
            continue
        if failed:  # not earlier: if this store holds the log, the message would wait for it too
            logger.info("%s: the store was away for %.0f s", uri, time.monotonic() - begun)
        return result


def _store(uri: str) -> str:
    """The part of a URI that identifies the store: everything except the path in the bucket."""
    base, _, options = uri.partition("?")
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}?{options}"


def _patience() -> float:
    """Seconds for which requests to an absent store are repeated."""
    text = os.environ.get("ORCH_STORE_PATIENCE", "")
    return float(text) if text.replace(".", "", 1).isdigit() else _PATIENCE_S


def _configured(filesystem: Any) -> Any:
    """The same S3 with options that a URI cannot have: limited retries, one put for a small file.

    Without them only failed connections are repeated, and a busy server's 503 would end a trial.
    """
    attempts = os.environ.get("AWS_MAX_ATTEMPTS", "")
    retry = fs.AwsStandardS3RetryStrategy(max_attempts=int(attempts) if attempts.isdigit() else 4)
    _, (options,) = filesystem.__reduce__()
    return fs.S3FileSystem(
        **options
        | {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "retry_strategy": retry,
            "allow_delayed_open": True,
        }
    )


def _reason(error: BaseException) -> str:
    """The first line of the error, after what it means if that is known."""
    text = str(error).partition("\n")[0]
    meaning = next((reason for word, reason in _REASONS.items() if word in text), "")
    return f"{meaning} ({text})" if meaning else text
