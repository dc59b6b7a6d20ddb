"""From a path or URI to its folder.  Only this module knows every kind of storage."""

from __future__ import annotations

import os
import urllib.parse

from trainer.storage.folder import Folder, is_uri
from trainer.storage.local_folder import LocalFolder


def open_folder(place: str | os.PathLike[str] | Folder) -> Folder:
    """The folder at a path or URI.  Raises `StoreError` if the URI is not valid."""
    if isinstance(place, Folder):
        return place
    path = str(place)
    if path.startswith("file://"):
        return LocalFolder(urllib.parse.unquote(urllib.parse.urlsplit(path).path))
    if not is_uri(path):
        return LocalFolder(path)
    # Imported here because most folders are local, and pyarrow imports slowly.
    from trainer.storage.object_store import open_remote

    return open_remote(path)
