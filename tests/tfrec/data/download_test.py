import hashlib
import http.server
import json
import re
import threading

import pytest

from tfrec.data import download
from tfrec.errors import UserError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Publisher(http.server.ThreadingHTTPServer):
    """A loopback publisher of one archive, that records its requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks_after, self.ranges_work = CONTENT, None, True
        self.pages, self.requests = {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802  the name http.server calls
        publisher = self.server
        byte_range = self.headers.get("Range")
        publisher.requests.append((self.path, byte_range))
        if self.path in publisher.pages:
            return self._send(200, publisher.pages[self.path])
        if not self.path.endswith((".zip", ".gz")):
            return self._send(404, b"no such page")
        if byte_range and publisher.ranges_work:
            start = int(re.fullmatch(r"bytes=(\d+)-", byte_range).group(1))
            if start >= len(publisher.content):
                return self._send(416, b"")
            return self._send(206, publisher.content[start:])
        return self._send(200, publisher.content)

    def _send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks_after is not None and len(body) > self.server.breaks_after:
            body = body[: self.server.breaks_after]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def publisher():
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def archive(publisher, md5=MD5):
    return download.Archive(f"{publisher.url}/ml-25m.zip", md5, "terms")


def test_fetched_once(publisher, tmp_path):
    path = download.fetch(archive(publisher), tmp_path / "new")
    assert path == tmp_path / "new" / "ml-25m.zip"
    assert path.read_bytes() == CONTENT
    assert download.fetch(archive(publisher), tmp_path / "new") == path
    assert publisher.requests == [("/ml-25m.zip", None)]
    assert [file.name for file in path.parent.iterdir()] == ["ml-25m.zip"]


def test_a_broken_download_goes_on_where_it_stopped(publisher, tmp_path):
    publisher.breaks_after = 300_000
    with pytest.raises(UserError, match="connection broke.*run again to go on"):
        download.fetch(archive(publisher), tmp_path)
    part = tmp_path / "ml-25m.zip.part"
    assert part.stat().st_size == 300_000
    assert not (tmp_path / "ml-25m.zip").exists()

    publisher.breaks_after = None
    assert download.fetch(archive(publisher), tmp_path).read_bytes() == CONTENT
    assert publisher.requests[-1] == ("/ml-25m.zip", "bytes=300000-")
    assert not part.exists()


def test_a_publisher_without_ranges_sends_all_of_it_again(publisher, tmp_path):
    publisher.ranges_work = False
    (tmp_path / "ml-25m.zip.part").write_bytes(CONTENT[:1000])
    assert download.fetch(archive(publisher), tmp_path).read_bytes() == CONTENT


def test_a_part_that_lacks_nothing(publisher, tmp_path):
    (tmp_path / "ml-25m.zip.part").write_bytes(CONTENT)
    assert download.fetch(archive(publisher), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_file(publisher, tmp_path):
    with pytest.raises(UserError, match=f"checksum of the download is {MD5}; expected 0000"):
        download.fetch(archive(publisher, "0" * 32), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_absent_file_and_an_absent_publisher(publisher, tmp_path):
    with pytest.raises(UserError, match="404"):
        download.fetch(download.Archive(f"{publisher.url}/none", MD5, ""), tmp_path)
    gone = publisher.url
    publisher.shutdown()
    publisher.server_close()
    with pytest.raises(UserError, match="not reachable"):
        download.fetch(download.Archive(f"{gone}/ml.zip", MD5, ""), tmp_path)


def test_without_a_checksum_the_length_is_checked(publisher, tmp_path):
    archive = download.unchecked(f"{publisher.url}/lthing_data.tar.gz", "terms")("librarything")
    publisher.breaks_after = 300_000
    with pytest.raises(UserError, match="connection broke.*run again to go on"):
        download.fetch(archive, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["lthing_data.tar.gz.part"]
    publisher.breaks_after = None
    assert download.fetch(archive, tmp_path).read_bytes() == CONTENT
    count = len(publisher.requests)
    assert download.fetch(archive, tmp_path).read_bytes() == CONTENT
    assert len(publisher.requests) == count  # it was there


def test_every_set_names_its_reader():
    assert {published.source for published in download.SETS.values()} == {
        "amazon",
        "book_crossing",
        "goodreads",
        "kuairand",
        "librarything",
        "movielens",
        "netflix",
        "otto",
        "taobao",
        "yoochoose",
    }


@pytest.mark.parametrize("text", [f"{MD5}  ml-25m.zip\n", f"MD5 (ml-25m.zip) = {MD5.upper()}"])
def test_grouplens_gives_the_checksum_beside_the_archive(publisher, text):
    publisher.pages["/ml-25m.zip.md5"] = text.encode()
    archive = download.movielens("ml-25m", base=publisher.url)
    assert (archive.url, archive.md5) == (f"{publisher.url}/ml-25m.zip", MD5)


def test_no_checksum_beside_the_archive(publisher):
    publisher.pages["/ml-25m.zip.md5"] = b"<html>moved</html>"
    with pytest.raises(UserError, match="no MD5 checksum in it"):
        download.movielens("ml-25m", base=publisher.url)


def test_zenodo_gives_the_checksum_in_its_record(publisher):
    files = [{"key": "KuaiRand-1K.tar.gz", "checksum": f"md5:{MD5}", "size": len(CONTENT)}]
    publisher.pages["/api/records/10439422"] = json.dumps({"files": files}).encode()
    archive = download.kuairand("KuaiRand-1K", base=publisher.url)
    assert archive.url == f"{publisher.url}/records/10439422/files/KuaiRand-1K.tar.gz"
    assert archive.md5 == MD5
    with pytest.raises(
        UserError, match="no file 'KuaiRand-2K.tar.gz'; the record has KuaiRand"
    ):
        download.kuairand("KuaiRand-2K", base=publisher.url)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (b"not json", "not a record with files"),
        (b'{"message": "deleted"}', "not a record with files"),
        (b'{"files": [{"key": "KuaiRand-1K.tar.gz"}]}', "no MD5 checksum for"),
    ],
)
def test_a_record_that_is_none(publisher, page, message):
    publisher.pages["/api/records/10439422"] = page
    with pytest.raises(UserError, match=message):
        download.kuairand("KuaiRand-1K", base=publisher.url)
