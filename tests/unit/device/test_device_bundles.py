"""Bundles from the network: only the one that was named, only its files, only in the cache."""

import hashlib

import msgspec
import pytest

from harness.offline import KEPT, kept_bundle, plan
from slfac.device.bundles import get_bundle
from slfac.wire.bundle import open_bundle
from slfac.wire.errors import BundleError, ProtocolError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Hello, Reply, Welcome
from slfac.wire.transfer import Part, Transfer

pytestmark = pytest.mark.device


class Sender:
    """A link whose server answers a bundle request with these files."""

    def __init__(self, contents):
        self.contents = contents
        self.asked = 0

    def request(self, kind, **_):
        assert kind == "bundle"
        self.asked += 1
        sections = tuple(Part("bundle", k, v).section() for k, v in self.contents.items())
        reply = Reply(1, 1, "bundle", 0, "train", 0.0, 0.0, 0.0, 0.0, sections)
        self.reply = Transfer(reply, tuple(map(memoryview, self.contents.values())))
        return self


def fetch(cache, contents, wanted):
    return get_bundle(None, wanted, cache=cache, link=Sender(contents), on_status=str)


def left(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_devices_part_is_fetched_once_and_then_found(tmp_path):
    kept = kept_bundle()
    sender = Sender(kept.contents("device"))
    for _ in range(2):
        bundle = get_bundle(None, kept.id, cache=tmp_path, link=sender, on_status=str)
        assert bundle.path == tmp_path / kept.id
    assert sender.asked == 1
    assert set(left(bundle.path)) == set(kept.contents("device"))


def test_another_bundle_than_the_named_one_is_not_written(tmp_path):
    kept = kept_bundle()
    with pytest.raises(BundleError, match=f"sent bundle {kept.id[:12]}, it had named 00000000"):
        fetch(tmp_path / "cache", kept.contents("device"), "0" * 64)
    assert left(tmp_path) == []


def test_no_manifest_at_all_is_not_written(tmp_path):
    with pytest.raises(BundleError, match="it had named"):
        fetch(tmp_path / "cache", {}, "0" * 64)
    assert left(tmp_path) == []


def test_more_than_a_devices_part_is_not_written(tmp_path):
    kept = kept_bundle()
    with pytest.raises(BundleError, match="not those its manifest lists"):
        fetch(tmp_path / "cache", kept.contents("whole"), kept.id)
    assert left(tmp_path) == []


def test_the_kept_bundle_has_the_id_of_its_manifest():
    raw = (KEPT / "manifest.json").read_bytes()
    assert open_bundle(KEPT).id == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    "bundle",
    ["/usr/lib/site-packages", "../../evil", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 65],
)
def test_a_bundle_id_that_is_none_never_reaches_the_disk(bundle):
    welcome = Welcome(1, False, "b", "r", "d", 0, 1, bundle, 1 << 20, plan())
    hello = Hello(1, False, 1 << 20, "0", "d", bundle)
    for message in (welcome, hello):
        with pytest.raises(ProtocolError, match="64"):
            decode_header(encode_header(message))
    with pytest.raises(ProtocolError):
        decode_header(encode_header(msgspec.structs.replace(welcome, bundle="")))
