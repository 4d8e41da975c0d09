"""In mode u-shaped no label leaves a device: every byte that its socket sends is looked at."""

import socket
import threading

import numpy as np
import pytest

from harness.offline import kept_bundle, kept_head_bundle
from harness.relay import Relay
from slfac.data import BatchStream, write_idx
from slfac.device import device_settings, run_device
from slfac.server import Server, server_settings
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAGIC, decode_header
from slfac.wire.messages import Request

COUNT, BATCH, SEED = 64, 16, 3


class Tap(Relay):
    """A relay that keeps what devices send, connection by connection."""

    def __init__(self, target):
        self.sent = {}
        self._recording = threading.Lock()
        super().__init__(target)

    def _pump(self, source, sink, way):
        if way == "up":
            source = _Recorder(source, self.sent.setdefault(id(source), bytearray()))
        super()._pump(source, sink, way)


class _Recorder:
    def __init__(self, end: socket.socket, kept: bytearray) -> None:
        self._end, self._kept = end, kept

    def recv(self, size):
        data = self._end.recv(size)
        self._kept += data
        return data

    def shutdown(self, how):
        self._end.shutdown(how)


def write_data(folder, labels):
    """Images that are the same whatever their labels."""
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8), dtype=np.uint8)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels.astype(np.uint8))
    return folder


def record(root, bundle, labels):
    """What a device sends in a run of two rounds, on a connection without keys."""
    root.mkdir()
    data = write_data(root / "data", labels)
    settings = server_settings(
        bundle=bundle.path,
        out=root / "out",
        bind="tcp://127.0.0.1:*",
        insecure=True,
        devices=("d0",),
        rounds=2,
        batch_size=BATCH,
        codec_up="none",
        codec_down="none",
        seed=SEED,
        threads=1,
    )
    with Server(settings) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        with Tap(server.address) as tap:
            run_device(
                device_settings(
                    server=tap.address,
                    data=data,
                    insecure=True,
                    name="d0",
                    cache=root / "cache",
                    journal=root / "journal",
                )
            )
            thread.join(60)
        assert not thread.is_alive()
    return b"".join(bytes(kept) for kept in tap.sent.values())


def traces(labels):
    """Labels of the batches and of the whole split, as anything could have written them."""
    stream = BatchStream(COUNT, BATCH, SEED, 0)
    rows = [stream.next() for _ in range(2 * stream.batches_per_epoch)]
    found = {}
    for number, chosen in enumerate([*rows, np.arange(COUNT)]):
        own = labels[chosen]
        for dtype in (np.uint8, np.int32, np.int64, np.float32):
            found[number, dtype.__name__] = own.astype(dtype).tobytes()
        found[number, "one-hot"] = np.eye(4, dtype=np.float32)[own].tobytes()
        found[number, "text"] = "".join(map(str, own)).encode()
    return found


def requests(sent):
    """Headers of the requests in a stream of bytes, with what follows each."""
    found = []
    start = sent.find(MAGIC)
    while start >= 0:
        for size in range(20, 600):
            try:
                header = decode_header(sent[start : start + size])
            except ProtocolError:
                continue
            if isinstance(header, Request):
                length = sum(section.length for section in header.sections)
                found.append((header, sent[start + size : start + size + length]))
            break
        start = sent.find(MAGIC, start + 1)
    return found


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(7).integers(0, 4, COUNT)


@pytest.fixture(scope="module")
def u_shaped(tmp_path_factory, labels):
    return record(tmp_path_factory.mktemp("u") / "run", kept_head_bundle(), labels)


def test_no_label_is_in_what_a_device_sends(u_shaped, labels):
    assert [name for name, trace in traces(labels).items() if trace in u_shaped] == []


def test_labels_would_be_found(tmp_path, labels):
    sent = record(tmp_path / "run", kept_bundle(), labels)
    found = [name for name, trace in traces(labels).items() if trace in sent]
    assert [(number, "uint8") for number in range(8)] == found


def test_no_request_has_a_place_for_labels(u_shaped):
    found = requests(u_shaped)
    kinds = [header.kind for header, _ in found]
    assert (kinds.count("step"), kinds.count("head"), kinds.count("score")) == (8, 8, 2)
    roles = {(header.kind, s.role, s.name) for header, _ in found for s in header.sections}
    assert roles == {
        ("step", "smashed", "smashed"),
        ("head", "gradient", "middle"),
        ("front", "front", "front"),
        ("evaluate", "smashed", "smashed"),
    }


def test_the_first_step_does_not_depend_on_the_labels(tmp_path, u_shaped, labels):
    others = labels[np.random.default_rng(1).permutation(COUNT)]
    assert (others != labels).any()
    changed = record(tmp_path / "run", kept_head_bundle(), others)
    (one, payload), (other, same_payload) = (
        next(found for found in requests(sent) if found[0].kind == "step")
        for sent in (u_shaped, changed)
    )
    assert payload
    assert payload == same_payload
    assert one.sections == other.sections
    assert (one.samples, one.step, one.parts) == (other.samples, other.step, other.parts)
    heads = [
        next(found for found in requests(sent) if found[0].kind == "head")
        for sent in (u_shaped, changed)
    ]
    # So it is not that labels have no effect: the gradients are others.
    assert heads[0][1] != heads[1][1]
