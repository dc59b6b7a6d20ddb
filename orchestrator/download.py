"""Gets the course's files: downloads and verifies them, or copies the user's own.

The files are in a public repository at one commit.  Each is checked against its git blob hash
(sha1 of "blob <size>\\0" + content) before it gets its name.  Until then it is `<name>.part`, from
which an interrupted download resumes.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import UserError
from trainer.config import did_you_mean
from trainer.config.tasks import TASKS, Task
from trainer.data.leakage import Repeated, repeated_in_task
from trainer.data.readers import DataError, Examples, read_examples
from trainer.storage.local_folder import write_whole

REPOSITORY = "gpoesia/minbert-default-final-project"
COMMIT = "7ac8260577fc12a86c7aaf38918056c30054ef39"
BASE = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/data"
#: File -> git blob hash.
BLOBS = {
    "ids-sst-train.csv": "9cb7333cb1dae49c2bd2a4b56a24882a6e8704b5",
    "ids-sst-dev.csv": "3171aa629a340809d2db4a50df8f6e5ec9420ab0",
    "ids-sst-test-student.csv": "bbd2313758825f86e24416d6aad64cd93370cf7a",
    "quora-train.csv": "a3b5546f6a0e65b60a328a5d294d1038f5bed1da",
    "quora-dev.csv": "de7cfa32428fd470b93f778fccc45a619e01336f",
    "quora-test-student.csv": "f257ef00558555afb50819578a58205732b16354",
    "sts-train.csv": "12b17760e7795fee35aeeabc290d5651de02622a",
    "sts-dev.csv": "9392860e584717976b8d817cc40c9e6ceeec27e0",
    "sts-test-student.csv": "25f0cf8fafdd1f82b9e2bb460c708af34341ce60",
    "ids-cfimdb-train.csv": "cd57bcbd2f7214ea6dd1783d3e885d324b1f478d",
    "ids-cfimdb-dev.csv": "8a0f5dcf3d40189b96c801a12cd79bf8003e61de",
    "ids-cfimdb-test-student.csv": "1e789c709b3ca0511f027a309b6d8bd21cde41b2",
}
TERMS = (
    "The sentences are research data of their owners: Stanford Sentiment Treebank, Quora's "
    "question pairs, SemEval STS benchmark, CFIMDB. Use them for research, under their terms; "
    "do not pass them on with your work."
)
ATTEMPTS = 5
_CHUNK = 1 << 16
_YELP_PER_STAR = 500

#: Called with (file, bytes so far, total bytes or None).
Report = Callable[[str, int, int | None], None]


class FetchError(UserError):
    """A download failed; the text says which file, why, and what to do."""

    exit_code = 1


def blob_hash(path: Path) -> str:
    """git's hash of a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(
    folder: Path,
    files: Iterable[str] = BLOBS,
    *,
    base: str = BASE,
    report: Report = lambda name, done, size: None,
    pause_seconds: float = 1.0,
) -> dict[str, str]:
    """Download files into `folder`; returns file -> `present` or `fetched`.

    Raises `FetchError` for the first file that fails.  Earlier files stay; another call resumes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcome = {}
    for name in files:
        target = folder / name
        if target.is_file() and blob_hash(target) == BLOBS[name]:
            outcome[name] = "present"
            continue
        if target.exists():
            raise FetchError(
                f"{target}: this file differs from the published one; move it away, or fetch into "
                "another folder"
            )
        part = folder / f"{name}.part"
        _download(f"{base}/{name}", name, part, report, pause_seconds)
        received = blob_hash(part)
        if received != BLOBS[name]:
            part.unlink()
            raise FetchError(
                f"{name}: the download is not the published file (git blob {received}, "
                f"expected {BLOBS[name]}) and was deleted"
            )
        part.replace(target)
        outcome[name] = "fetched"
    return outcome


def _download(url: str, name: str, part: Path, report: Report, pause_seconds: float) -> None:
    """Append the rest of the file to `part`; retries broken connections."""
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_seconds * attempt)
        try:
            if _one_connection(url, name, part, report):
                return
            problem = None
        except urllib.error.HTTPError as error:
            if error.code == 416:  # our part is longer than that file
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise FetchError(f"{name}: the server answers {error.code} for {url}") from error
            problem = error
        except PermissionError:
            raise
        except ValueError as error:
            raise FetchError(f"{name}: {url}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            problem = error
    reason = problem or "the connection broke off"
    raise FetchError(
        f"{name}: {reason} ({ATTEMPTS} attempts); run the same command again to resume"
    )


def _one_connection(url: str, name: str, part: Path, report: Report) -> bool:
    """Read until the end or a break; returns whether the server says that the file is complete."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        done = done if resumed else 0
        size = done + int(length) if length else None
        with part.open("ab" if resumed else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                report(name, done, size)
    return size is None or done >= size


@dataclass(frozen=True)
class Prepared:
    """One copied file.

    Attributes:
        rows: the usable rows.
        dropped: reason -> rows that are left out.
        published: whether it equals the published file; None if none has this name.
        repeated: which rows stand twice; None if that is unknown.
    """

    file: str
    rows: int
    dropped: dict[str, int]
    published: bool | None
    repeated: Repeated | None = None


def course_files() -> dict[str, tuple[Task, str, str]]:
    """`<task>-<split>` -> task, split and the course's name of that file."""
    return {
        f"{task.name}-{split}": (task, split, task.files(split)[0])
        for task in TASKS.values()
        for split in ("train", "dev", "test")
        if task.files(split)
    }


def prepare(source: Path, folder: Path, named: Mapping[str, Path] | None = None) -> list[Prepared]:
    """Read and check the course's files in `source`, and copy them into `folder`.

    Args:
        named: `<task>-<split>` -> a file with another name, which gets the course's name.

    Raises `DataError` if `source` is no folder or has none of the files, or a file lacks a column.
    """
    if not source.is_dir():
        what = "is no folder" if source.exists() else "there is no such folder"
        raise DataError(f"{source}: {what}; name the folder that has the course's files")
    chosen = _chosen(source, named or {})
    found: dict[str, dict[str, Examples]] = {}
    for key, path in chosen.items():
        task, split, name = course_files()[key]
        found.setdefault(task.name, {})[split] = _read_as(path, name, task, split)
    prepared = []
    for key, path in chosen.items():
        task, split, name = course_files()[key]
        examples = found[task.name][split]
        published = blob_hash(path) == BLOBS[name] if name in BLOBS else None
        repeated = repeated_in_task(
            task.name, {part: (each.ids, each.texts) for part, each in found[task.name].items()}
        )
        of_split = next(each for each in repeated if each.split == split)
        dropped = dict(examples.dropped)
        prepared.append(Prepared(name, len(examples.texts), dropped, published, of_split))
    for key, path in chosen.items():
        target = folder / course_files()[key][2]
        if path.resolve() != target.resolve():
            write_whole(target, path.read_bytes())
    return prepared


def _chosen(source: Path, named: Mapping[str, Path]) -> dict[str, Path]:
    """`<task>-<split>` -> the file that is taken for it.  Raises as `prepare`."""
    files = course_files()
    for key, path in named.items():
        if key not in files:
            hint = did_you_mean(key, files)
            allowed = ", ".join(files)
            raise DataError(f"--map {key}={path}: unknown {key!r}{hint}; allowed: {allowed}")
        if not path.is_file() and not (source / path).is_file():
            raise DataError(f"--map {key}={path}: there is no such file, nor in {source}")
    chosen = {}
    for key, (_, _, name) in files.items():
        path = named.get(key, source / name)
        if path.is_file() or (source / path).is_file():
            chosen[key] = path if path.is_file() else source / path
    if not chosen:
        raise DataError(
            f"{source}: has none of the course's files: {', '.join(BLOBS)}; for other names: "
            "--map sst-train=FILE"
        )
    return chosen


def _read_as(path: Path, name: str, task: Task, split: str) -> Examples:
    """Read a file as it will be read under another name, because the ending says how."""
    labelled = split != "test"
    if path.suffix == Path(name).suffix:
        return read_examples(path, task, labelled=labelled)
    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder) / name
        linked.symlink_to(path.resolve())
        try:
            return read_examples(linked, task, labelled=labelled)
        except DataError as error:
            raise DataError(str(error).replace(str(linked), f"{path} (as {name})")) from error


def prepare_yelp(reviews: Path, folder: Path) -> Prepared:
    """P1's auxiliary task from Yelp's `yelp_academic_dataset_review.json`, in the course's format:
    500 reviews for each number of stars, label stars - 1.  Raises `DataError`."""
    by_star: dict[int, list[tuple[str, str]]] = {star: [] for star in range(1, 6)}
    seen = dict.fromkeys(by_star, 0)
    generator = np.random.default_rng(0)
    dropped = 0
    for row in _json_lines(reviews):
        try:
            star, text = int(row["stars"]), " ".join(str(row["text"]).split())
            kept = by_star[star]
        except (KeyError, TypeError, ValueError):
            dropped += 1
            continue
        # Reservoir sampling: the file has millions of reviews and is read once.
        seen[star] += 1
        entry = (str(row.get("review_id", f"yelp-{sum(seen.values())}")), text)
        if len(kept) < _YELP_PER_STAR:
            kept.append(entry)
        elif (place := int(generator.integers(seen[star]))) < _YELP_PER_STAR:
            kept[place] = entry
    for star, kept in by_star.items():
        if len(kept) < _YELP_PER_STAR:
            raise DataError(
                f"{reviews}: has only {len(kept)} reviews with {star} stars; "
                f"{_YELP_PER_STAR} are needed"
            )
    task: Task = TASKS["yelp"]
    rows = [(id_, text, star - 1) for star, kept in by_star.items() for id_, text in kept]
    lines = [f"\tid\t{task.columns[0]}\t{task.label}"]
    for number, (id_, text, label) in enumerate(rows):
        quoted = '"' + text.replace('"', '""') + '"'
        lines.append(f"{number}\t{id_}\t{quoted}\t{label}")
    (name,) = task.files("train")
    write_whole(folder / name, ("\n".join(lines) + "\n").encode())
    left_out = {"no stars or no text": dropped} if dropped else {}
    return Prepared(name, len(rows), left_out, None)


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}: line {number} is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
