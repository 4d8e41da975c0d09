"""An archive of Debian packages on this machine, which fails as archives do."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from slfac.device.image.build.lock import Lock, Package


def make_deb(folder: Path, name: str, version: str = "1.0", *, size: int = 100) -> Path:
    """A package with one file in it."""
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr" / "share").mkdir(parents=True)
    (tree / "usr" / "share" / name).write_bytes(hashlib.shake_128(name.encode()).digest(size))
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: arm64\n"
        f"Maintainer: nobody <nobody@example.org>\nDescription: {name}\n"
    )
    # As in Debian's pool, where names of files have no epochs.
    deb = folder / f"{name}_{version.rpartition(':')[2]}_arm64.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(deb)]
    subprocess.run(command, check=True, capture_output=True)
    return deb


def _field(deb: Path, *names: str) -> str:
    command = ["dpkg-deb", "--field", str(deb), *names]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return told.strip() if names else told


class Mirror:
    """What it has, and what it does wrong.

    Attributes:
        url: Its address.
        files: What it has, by path.
        versions: Of its packages.
        cut: How many times each path is answered with half of it.
        asked: What it was asked for.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.versions: dict[str, str] = {}
        self.asked: list[str] = []

    def add(self, deb: Path) -> None:
        """Have a package, in its pool and in its list of packages."""
        data = deb.read_bytes()
        self.files[f"/pool/{deb.name}"] = data
        self.versions[deb.name.split("_")[0]] = _field(deb, "Version")
        control = _field(deb)
        digest = hashlib.sha256(data).hexdigest()
        stanza = f"{control}Filename: pool/{deb.name}\nSize: {len(data)}\n"
        self.files["/Packages"] = (
            self.files.get("/Packages", b"") + f"{stanza}SHA256: {digest}\n\n".encode()
        )

    def package(self, name: str) -> Package:
        """What a lock says of one of its packages."""
        ((path, data),) = ((p, d) for p, d in self.files.items() if f"/{name}_" in p)
        return Package(
            name=name,
            version=self.versions[name],
            architecture="arm64",
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            url=self.url,
            path=path.lstrip("/"),
        )

    def remember(self, name: str, other: Mirror) -> None:
        """Have what another had, as snapshot.debian.org has it."""
        package = other.package(name)
        data = other.files[f"/{package.path}"]
        sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        self.files[f"/file/{sha1}"] = data
        info = {"name": name, "size": len(data), "archive_name": "debian"}
        about = {
            "result": [{"hash": sha1, "architecture": "arm64"}],
            "fileinfo": {sha1: [info]},
        }
        where = f"/mr/binary/{name}/{package.version}/binfiles?fileinfo=1"
        self.files[where] = json.dumps(about).encode()


@contextmanager
def mirror() -> Iterator[Mirror]:
    """An empty archive that answers until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            path = unquote(self.path).replace("/./", "/")
            data = served.files.get(path)
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            left = served.cut.get(path, 0)
            served.cut[path] = max(0, left - 1)
            self.wfile.write(data[: len(data) // 2] if left else data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Mirror(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def lock_of(*packages: Package) -> Lock:
    """A lock of some packages."""
    return Lock(
        suite="trixie",
        time_s=1_764_000_000,
        recipe="0" * 64,
        wheels_sha256="0" * 64,
        archives=(),
        packages=packages,
    )
