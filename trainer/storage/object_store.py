"""Folders on an object store through pyarrow, at any of its URIs, such as `s3://bucket/prefix`.

A URI's options are pyarrow's (`?endpoint_override=...&scheme=http&region=...`).  Credentials come
from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `~/.aws`).  `AWS_MAX_ATTEMPTS`
(default 4) limits how often a request to S3 is tried.  If a store has answered before, we wait for
it up to `ORCH_STORE_PATIENCE` seconds (default 60).  If it has never answered, its address may be
wrong, and that is an error at once.
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

from trainer.storage.folder import Folder, StoreError

logger = logging.getLogger("trainer")

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5
_PATIENCE_S, _PAUSE_S = 60.0, 1.0
#: Stores that have answered, by `_store`.
_reached: set[str] = set()
#: Words in the errors of a store that is away or overloaded.
_PASSING = (
    "NETWORK_CONNECTION",
    "SERVICE_UNAVAILABLE",
    "SLOW_DOWN",
    "INTERNAL_FAILURE",
    "REQUEST_TIMEOUT",
    "HTTP status 50",
)
_CREDENTIALS = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws"
#: Words in an object store's errors -> their meaning and what to do.
_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; create it first",
    "ACCESS_DENIED": f"access is denied; {_CREDENTIALS}",
    "INVALID_ACCESS_KEY_ID": f"access is denied; {_CREDENTIALS}",
    "SIGNATURE_DOES_NOT_MATCH": f"access is denied; {_CREDENTIALS}",
    "NETWORK_CONNECTION": "does not answer; check the network and endpoint_override",
}


@functools.lru_cache(maxsize=64)  # opening sends a request for the bucket's region
def open_remote(uri: str) -> RemoteFolder:
    """The folder at a URI.  Raises `StoreError` if pyarrow cannot open it."""
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
        filesystem, root = _patiently(uri, lambda: fs.FileSystem.from_uri(uri))
    except (ValueError, OSError, NotImplementedError) as error:
        raise StoreError(f"{uri}: {_reason(error)}") from error
    if isinstance(filesystem, fs.S3FileSystem):
        filesystem = _patient(filesystem)
    return RemoteFolder(uri, filesystem, root.rstrip("/"))


def expect(uri: str) -> None:
    """This store is known to have answered: wait for it if it does not."""
    _reached.add(_store(uri))


class RemoteFolder(Folder):
    """A folder of an object store, through pyarrow."""

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
        base, mark, options = self.path.partition("?")
        path = f"{base}/{self._within(name)}{mark}{options}"
        return RemoteFolder(path, self._filesystem, f"{self._root}/{name}")

    def write(self, name: str, content: bytes) -> str:
        self._ask(lambda: self._put(self._target(name), content))
        return hashlib.sha256(content).hexdigest()

    def read(self, name: str) -> bytes | None:
        target = self._target(name)

        def get() -> bytes | None:
            try:
                with self._filesystem.open_input_stream(target) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

        return self._ask(get)

    def has(self, name: str) -> bool:
        target = self._target(name)
        info = self._ask(lambda: self._filesystem.get_file_info(target))
        return bool(info.type != fs.FileType.NotFound)

    def names(self, name: str = "") -> list[str]:
        return sorted(info.base_name for info in self._list(name))

    def folders(self) -> list[str]:
        listed = self._list("")
        return sorted(info.base_name for info in listed if info.type == fs.FileType.Directory)

    def delete(self, name: str) -> None:
        target = self._target(name)

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                if self._filesystem.get_file_info(target).type == fs.FileType.Directory:
                    self._filesystem.delete_dir(target)
                else:
                    self._filesystem.delete_file(target)

        self._ask(remove)

    def clear_halves(self) -> None:
        """There are none: a put is complete."""

    def free(self) -> int | None:
        return None

    def _list(self, name: str) -> list[Any]:
        target = self._target(name) if name else self._root
        selector = fs.FileSelector(target, allow_not_found=True)
        return self._ask(lambda: list(self._filesystem.get_file_info(selector)))

    def _target(self, name: str) -> str:
        return f"{self._root}/{self._within(name)}"

    def _put(self, target: str, content: bytes) -> None:
        stream = self._filesystem.open_output_stream(target)
        try:
            stream.write(content)
            stream.close()
        except BaseException:
            # Closing the stream is the only way to end it; it may put an incomplete file.
            with contextlib.suppress(OSError, ValueError):
                stream.close()
                self._filesystem.delete_file(target)
            raise

    def _ask(self, action: Callable[[], T]) -> T:
        try:
            answer = _patiently(self.path, action)
        except OSError as error:
            raise StoreError(f"{self.path}: {_reason(error)}") from error
        expect(self.path)
        return answer


def _patiently(uri: str, action: Callable[[], T]) -> T:
    """Repeat an action while a store does not answer that has answered before.

    Raises its `OSError` in the end.  All actions here can be repeated safely.
    """
    store, started = _store(uri), time.monotonic()
    failed = False
    while True:
        try:
            answer = action()
        except OSError as error:
            waited = time.monotonic() - started
            passing = any(word in str(error) for word in _PASSING)
            if not passing or store not in _reached or waited + _PAUSE_S > _patience():
                _reached.discard(store)  # so that later requests do not wait again
                raise
            failed = True
            time.sleep(_PAUSE_S)
            continue
        if failed:  # not earlier, because the log may be in this store, too
            logger.info("%s: the store was away for %.0f s", uri, time.monotonic() - started)
        return answer


def _store(uri: str) -> str:
    """The part of a URI that identifies its store: everything except the path in the bucket."""
    base, _, options = uri.partition("?")
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}?{options}"


def _patience() -> float:
    given = os.environ.get("ORCH_STORE_PATIENCE", "")
    return float(given) if given.replace(".", "", 1).isdigit() else _PATIENCE_S


def _patient(filesystem: Any) -> Any:
    """The same S3 with settings that a URI cannot have: bounded retries, one put per small file.

    By default only failed connections are retried, so that a busy server's 503 would end a trial.
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
    message = str(error).partition("\n")[0]
    meaning = next((reason for word, reason in _REASONS.items() if word in message), "")
    return f"{meaning} ({message})" if meaning else message
