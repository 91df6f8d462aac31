"""Fetches a public set from its publisher: resumable, checked, with a progress bar.

No checksum is written here: a publisher gives the MD5 of its files itself, GroupLens in a
file beside the archive, Zenodo in the description of the record. UCSD and SNAP give none; of
their files the length is checked, and the checksum of gzip when they are read.
"""

import dataclasses
import hashlib
import http.client
import json
import pathlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from rich import progress

from tfrec import outputs
from tfrec.errors import UserError

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
ZENODO = "https://zenodo.org"
_CHUNK = 1 << 18  # bytes
_TIMEOUT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
      url: address of the file.
      md5: 32 hexadecimal digits, as the publisher gives them; None where none are given.
        Only the length is then checked.
      terms: one line on the terms of use, shown before the download.
    """

    url: str
    md5: str | None
    terms: str

    @property
    def name(self) -> str:
        """The file's name."""
        return pathlib.PurePosixPath(urllib.parse.urlsplit(self.url).path).name


def movielens(name: str, base: str = GROUPLENS) -> Archive:
    """A MovieLens set, e.g. `ml-25m` or `ml-latest-small`.

    Raises:
      UserError: if the publisher cannot be reached or gives no checksum.
    """
    url = f"{base}/{name}.zip"
    text = _get(url + ".md5").decode("utf-8", "replace")
    checksum = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if not checksum:
        raise UserError(f"{url}.md5: no MD5 checksum in it; expected 32 hexadecimal digits")
    return Archive(
        url, checksum.group().lower(), "GroupLens: research use, see the README inside"
    )


def kuairand(name: str, base: str = ZENODO, record: str = "10439422") -> Archive:
    """A KuaiRand set: `KuaiRand-Pure`, `KuaiRand-1K` or `KuaiRand-27K`.

    Raises:
      UserError: if the publisher cannot be reached, or its record lacks the file or the
        file's checksum.
    """
    address = f"{base}/api/records/{record}"
    try:
        files = {file["key"]: file for file in json.loads(_get(address))["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{address}: not a record with files ({error!r})") from error
    key = f"{name}.tar.gz"
    if key not in files:
        raise UserError(
            f"{address}: no file {key!r}; the record has {', '.join(sorted(files))}"
        )
    kind, _, digest = str(files[key].get("checksum")).partition(":")
    if kind != "md5" or not re.fullmatch(r"[0-9a-f]{32}", digest):
        raise UserError(f"{address}: no MD5 checksum for {key!r}")
    url = f"{base}/records/{record}/files/{key}"
    return Archive(url, digest, "KuaiRand: CC BY-SA 4.0, credit Gao et al. 2022")


def unchecked(url: str, terms: str) -> "Describe":
    """Describes a file that its publisher serves without a checksum."""

    def describe(name: str) -> Archive:
        return Archive(url, None, terms)

    return describe


def fetch(archive: Archive, directory: str | pathlib.Path) -> pathlib.Path:
    """Downloads an archive into a directory, unless it is there already.

    A download goes to `<name>.part` and is renamed only when its checksum is right, or its
    length where the publisher gives no checksum. An interrupted download resumes.

    Args:
      archive: the file to download.
      directory: target folder; created if it does not exist.

    Returns:
      The path of the archive.

    Raises:
      UserError: if the publisher cannot be reached, the connection breaks (run again to
        resume), the directory cannot be written, or the checksum is wrong (the file is
        removed).
    """
    directory = pathlib.Path(directory)
    with outputs.writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    target = directory / archive.name
    if target.exists() and archive.md5 in (None, _md5(target)):
        return target
    part = target.with_name(target.name + ".part")
    with outputs.writing(part):
        _resume(archive.url, part)
    received = archive.md5 and _md5(part)
    if received != archive.md5:
        part.unlink()
        raise UserError(
            f"{archive.url}: the checksum of the download is {received}; expected "
            f"{archive.md5} (MD5). It was removed: run again."
        )
    part.replace(target)
    return target


def _resume(url: str, part: pathlib.Path) -> None:
    """Appends the missing bytes to the partial file."""
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        url, headers={"Range": f"bytes={offset}-"} if offset else {}
    )
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return  # nothing is missing; the checksum will tell
        raise UserError(f"{url}: {error}") from error
    except OSError as error:
        raise UserError(f"{url}: not reachable ({error})") from error
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            offset = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else None
        with part.open("ab" if offset else "wb") as out, _bar() as bar:
            task = bar.add_task(part.stem, total=total, completed=offset)
            while chunk := _next_chunk(response, url, part):
                out.write(chunk)
                bar.advance(task, len(chunk))
    if total is not None and part.stat().st_size < total:
        raise UserError(
            f"{url}: the connection broke after {part.stat().st_size:,} of {total:,} bytes; "
            "run again to go on from there"
        )


def _next_chunk(response: http.client.HTTPResponse, url: str, part: pathlib.Path) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{url}: the connection broke ({error!r}); run again to go on from what "
            f"{part.name} holds"
        ) from error


def _bar() -> progress.Progress:
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            return response.read()
    except OSError as error:  # URLError and HTTPError are OSErrors too
        raise UserError(f"{url}: not reachable ({error})") from error


def _md5(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def by_hand(instructions: str, flags: str) -> Callable[[str], Archive]:
    """Describes a set that must be downloaded by hand, or has no checksum."""

    def describe(name: str) -> Archive:
        raise UserError(
            f"--download={name}: this set is fetched by hand: {instructions}. Then pass {flags}"
        )

    return describe


Describe = Callable[[str], Archive]


class Published(NamedTuple):
    """A public set that `--download` takes by name.

    Attributes:
      source: the name of its reader.
      describe: makes the `Archive` of a set from its name.
    """

    source: str
    describe: Describe


UCSD = "https://mcauleylab.ucsd.edu/public_datasets"
SNAP = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_AMAZON_TERMS = "Amazon reviews: research use, cite He and McAuley 2016"
_GOODREADS_TERMS = "GoodReads: academic use, cite Wan and McAuley 2018"
SETS: dict[str, Published] = {
    **dict.fromkeys(
        ("ml-25m", "ml-20m", "ml-32m", "ml-latest-small", "ml-10m", "ml-1m", "ml-100k"),
        Published("movielens", movielens),
    ),
    **dict.fromkeys(
        ("KuaiRand-Pure", "KuaiRand-1K", "KuaiRand-27K"), Published("kuairand", kuairand)
    ),
    "amazon-cds": Published(
        "amazon", unchecked(f"{SNAP}/reviews_CDs_and_Vinyl_5.json.gz", _AMAZON_TERMS)
    ),
    "amazon-cds-ratings": Published(
        "amazon", unchecked(f"{SNAP}/ratings_CDs_and_Vinyl.csv", _AMAZON_TERMS)
    ),
    "librarything": Published(
        "librarything",
        unchecked(
            f"{UCSD}/data/librarything/lthing_data.tar.gz",
            "LibraryThing: research use, cite Zhao, McAuley and King 2015",
        ),
    ),
    "goodreads": Published(
        "goodreads",
        unchecked(
            f"{UCSD}/gdrive/goodreads/goodreads_interactions_dedup.json.gz", _GOODREADS_TERMS
        ),
    ),
    "goodreads-csv": Published(
        "goodreads",
        unchecked(f"{UCSD}/gdrive/goodreads/goodreads_interactions.csv", _GOODREADS_TERMS),
    ),
    "book-crossing": Published(
        "book_crossing",
        by_hand(
            "BX-CSV-Dump.zip from http://www2.informatik.uni-freiburg.de/~cziegler/BX/ "
            "(research, with acknowledgement; no checksum is published)",
            "--source=book_crossing --path=BX-CSV-Dump.zip --on_bad_row=skip",
        ),
    ),
    "netflix": Published(
        "netflix",
        by_hand(
            "netflix-prize-data from "
            "https://www.kaggle.com/datasets/netflix-inc/netflix-prize-data (research use; the "
            "site requires an account)",
            "--source=netflix --path=the archive",
        ),
    ),
    "taobao": Published(
        "taobao",
        by_hand(
            "UserBehavior.csv.zip from https://tianchi.aliyun.com/dataset/649 (research use; "
            "the site requires an account)",
            "--source=taobao --path=UserBehavior.csv.zip --on_bad_row=skip",
        ),
    ),
    "yoochoose": Published(
        "yoochoose",
        by_hand(
            "yoochoose-data.7z, the RecSys Challenge 2015, from "
            "https://s3-eu-west-1.amazonaws.com/yc-rdata/yoochoose-data.7z (CC BY-NC-ND 4.0; "
            "no checksum is published), and unpack it with 7z",
            "--source=yoochoose --path=the folder",
        ),
    ),
    "otto": Published(
        "otto",
        by_hand(
            "otto-recommender-system from Kaggle, with an account, as "
            "https://github.com/otto-de/recsys-dataset says (CC BY 4.0)",
            "--source=otto --path=the folder",
        ),
    ),
}
