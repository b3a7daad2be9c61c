import hashlib
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from minicnn.data import DataError
from minicnn.data import download as module
from minicnn.data.download import RemoteFile, download
from minicnn.data.places import cache_folder

CONTENT = bytes(range(256)) * 1000
FILE = RemoteFile("a.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves CONTENT as any file; the first folder of the path says in which way, see Handler."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log: list[tuple[str, str | None]] = []  # path and Range of each request
        self.release = threading.Event()

    def mirror(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request per connection
    server: Server

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.log.append((self.path, asked))
        way = self.path.split("/")[1]
        if way == "silent":
            self.server.release.wait(60)
            return
        if way == "missing":
            self.send_error(404)
            return
        if way == "moved":
            self.send_response(302)
            self.send_header("Location", "/good/" + FILE.name)
            self.end_headers()
            return
        body = bytes(len(CONTENT)) if way == "wrong" else b"<html>not here" if way == "page" else CONTENT
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and way != "norange" else 0
        self.send_response(206 if start else 200)
        if way != "nolength":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : 100_000] if way in ("cut", "nolength") else body[start:])


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def dead() -> str:
    """An address where nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    return f"http://127.0.0.1:{port}/"


def requests_of(server: Server) -> list[str]:
    return [path.split("/")[1] for path, _ in server.log]


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_announced_and_put_in_place(server, tmp_path):
    lines: list[str] = []
    other = RemoteFile("b.gz", FILE.size, FILE.sha256)
    download([FILE, other], [server.mirror("good")], tmp_path / "new" / "folder", lines.append)
    assert names(tmp_path / "new" / "folder") == ["a.gz", "b.gz"]
    assert (tmp_path / "new" / "folder" / "b.gz").read_bytes() == CONTENT
    assert lines[0] == f"downloading a.gz (0.3 MB) from {server.mirror('good')} to {tmp_path / 'new' / 'folder'}"
    assert [line.split()[1] for line in lines] == ["a.gz", "b.gz"]


def test_progress_is_reported(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REPORT_EVERY", 0)
    lines: list[str] = []
    download([FILE], [server.mirror("good")], tmp_path, lines.append)
    assert lines[-1] == "a.gz: 0.3 MB of 0.3 MB"


@pytest.mark.parametrize("bad", ["wrong", "missing", "page", "cut", "nolength"])
def test_the_next_mirror_stands_in(server, tmp_path, bad):
    download([FILE], [server.mirror(bad), server.mirror("good")], tmp_path, lambda line: None)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.gz"]
    assert [path for path, _ in server.log] == [f"/{bad}/a.gz", "/good/a.gz"]
    assert [asked is not None for _, asked in server.log] == [False, bad in ("cut", "nolength")]  # continued


def test_a_failed_download_leaves_no_empty_folders(server, tmp_path):
    (tmp_path / "old").mkdir()
    for folder in (tmp_path / "new" / "inner", tmp_path / "old" / "inner", tmp_path / "old"):
        with pytest.raises(DataError, match="could not be downloaded"):
            download([FILE], [server.mirror("missing")], folder, lambda line: None)
    assert names(tmp_path) == ["old"] and names(tmp_path / "old") == []
    with pytest.raises(DataError, match="could not be downloaded"):  # what has come is kept
        download([FILE], [server.mirror("cut")], tmp_path / "new" / "inner", lambda line: None)
    assert names(tmp_path / "new" / "inner") == ["a.gz.part"]


def test_redirections_are_followed(server, tmp_path):
    download([FILE], [server.mirror("moved")], tmp_path, lambda line: None)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT


def test_a_mirror_that_failed_is_not_asked_again(server, tmp_path, dead):
    files = [RemoteFile(name, FILE.size, FILE.sha256) for name in ("a", "b", "c")]
    lines: list[str] = []
    download(files, [dead, server.mirror("missing"), server.mirror("good")], tmp_path, lines.append)
    assert names(tmp_path) == ["a", "b", "c"]
    assert requests_of(server) == ["missing", "good", "good", "good"]
    assert sum(dead in line for line in lines) == 1


def test_a_silent_host_costs_the_time_out(server, tmp_path, monkeypatch):
    assert module.TIMEOUT == (5, 30)
    monkeypatch.setattr(module, "TIMEOUT", (5, 0.05))
    used, real = [], pooch.HTTPDownloader
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: used.append(options["timeout"]) or real(**options))
    download([FILE], [server.mirror("silent"), server.mirror("good")], tmp_path, lambda line: None)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert used == [(5, 0.05)] * 2


@pytest.mark.parametrize("way", ["good", "moved"])
def test_an_interrupted_download_is_continued(server, tmp_path, way):
    with pytest.raises(DataError, match="could not be downloaded"):
        download([FILE], [server.mirror("cut")], tmp_path, lambda line: None)
    assert names(tmp_path) == ["a.gz.part"]
    part = (tmp_path / "a.gz.part").read_bytes()
    assert 0 < len(part) and CONTENT.startswith(part)
    server.log.clear()
    lines: list[str] = []
    download([FILE], [server.mirror(way)], tmp_path, lines.append)
    assert server.log[-1][1] == f"bytes={len(part)}-"
    assert lines[0].endswith(", continuing at 0.1 MB")
    assert (tmp_path / "a.gz").read_bytes() == CONTENT and names(tmp_path) == ["a.gz"]


def test_a_server_that_cannot_continue_starts_again(server, tmp_path):
    (tmp_path / "a.gz.part").write_bytes(CONTENT[:1000])
    download([FILE], [server.mirror("norange")], tmp_path, lambda line: None)
    assert server.log == [("/norange/a.gz", "bytes=1000-")]
    assert (tmp_path / "a.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"something else", bytes(len(CONTENT)), bytes(len(CONTENT) + 1)])
def test_a_wrong_beginning_is_thrown_away(server, tmp_path, part):
    (tmp_path / "a.gz.part").write_bytes(part)
    download([FILE], [server.mirror("good")], tmp_path, lambda line: None)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT and names(tmp_path) == ["a.gz"]


def test_a_whole_part_needs_no_network(tmp_path, dead):
    (tmp_path / "a.gz.part").write_bytes(CONTENT)
    download([FILE], [dead], tmp_path, lambda line: None)
    assert names(tmp_path) == ["a.gz"]


def test_when_no_mirror_helps_the_error_names_the_reasons_and_the_folder(server, tmp_path, dead):
    ways = ["missing", "wrong", "page"]
    with pytest.raises(DataError) as caught:
        download([FILE], [dead, *map(server.mirror, ways)], tmp_path, lambda line: None)
    message, host = caught.value.message, f"127.0.0.1:{server.server_port}"
    assert message.startswith("a.gz: could not be downloaded (127.0.0.1:") and "ConnectionError; " in message
    assert f"{host}: HTTP 404; {host}: wrong check sum; {host}: offers 14 bytes instead of 256000)" in message
    assert str(tmp_path) in caught.value.hint
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written") as caught:
        download([FILE], [server.mirror("good")], tmp_path / "file" / "sub", lambda line: None)
    assert "--data-dir" in caught.value.hint
    assert server.log == []


@pytest.mark.skipif(sys.platform != "linux", reason="XDG")
def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "minicnn"
