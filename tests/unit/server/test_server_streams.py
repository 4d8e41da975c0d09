"""Codecs of many streams, and what a checkpoint takes of them."""

import json

import numpy as np
import pytest
import torch

from slfac.codec import StreamKey, make_codec
from slfac.server.codec import make_torch_codec
from slfac.server.codec.streams import Streams
from slfac.wire.errors import CodecError

# A codec with a byte budget remembers what it has spent.
SPEC = "slfac-rd:budget=400"


def streams(spec=SPEC):
    return Streams(lambda: make_codec(spec))


def key(device, layer=0, step=0):
    return StreamKey(device=device, layer=layer, step=step, direction="down")


def tensor(seed, scale=1.0):
    x = np.random.default_rng(seed).normal(size=(4, 3, 8, 8)) * scale
    return x.astype(np.float32)


def encode(owner, device, layer, seeds):
    return [bytes(owner.of(key(device, layer)).encode(tensor(seed))) for seed in seeds]


def test_each_device_and_layer_has_a_codec_of_its_own():
    owner = streams()
    assert owner.of(key(0, step=1)) is owner.of(key(0, step=2))
    assert len({owner.of(key(device, layer)) for device in (0, 1) for layer in (0, 1)}) == 4


def test_restored_streams_go_on_bit_for_bit():
    owner, other = streams(), streams()
    for device, layer in [(0, 0), (0, 1), (12, 0)]:
        encode(owner, device, layer, range(device, device + 3))
    state = owner.state()
    assert set(state) == {"0/0", "0/1", "12/0"}
    other.restore(json.loads(json.dumps(state)))
    for device, layer in [(12, 0), (0, 0), (0, 1), (5, 0)]:
        expected = encode(owner, device, layer, range(20, 23))
        assert encode(other, device, layer, range(20, 23)) == expected
    # Without its state a stream does not go on like that, or the above says nothing.
    assert encode(streams(), 12, 0, [23]) != encode(owner, 12, 0, [23])


def test_a_device_that_is_forgotten_begins_anew():
    owner = streams()
    for device in (0, 1):
        encode(owner, device, 0, range(3))
        encode(owner, device, 1, range(3))
    owner.forget(0)
    assert set(owner.state()) == {"1/0", "1/1"}
    assert encode(owner, 0, 0, range(3)) == encode(streams(), 0, 0, range(3))


def test_codecs_that_remember_nothing_leave_no_state():
    owner = streams("slfac")
    encode(owner, 0, 0, [1])
    assert owner.state() == {}
    owner.restore({})


@pytest.mark.parametrize("name", ["", "0", "0/", "/0", "a/0", "0/-1", "0/0/0", "0.5/0", "٣x/0"])
def test_a_state_of_no_stream_is_refused(name):
    with pytest.raises(CodecError, match="a codec's state is of stream"):
        streams().restore({name: streams().of(key(0)).state()})


def test_a_state_of_another_codec_is_refused():
    owner = streams()
    encode(owner, 0, 0, [1])
    with pytest.raises(CodecError, match="rule=b keeps no state"):
        streams("slfac").restore(owner.state())
    with pytest.raises(CodecError, match="was given the state"):
        owner.restore({"0/0": {"nonsense": 1.0}})


@pytest.mark.parametrize("spec", [SPEC, "slfac-rd:step=0.3", "slfac", "none", "fp16"])
def test_a_servers_codec_goes_on_from_a_checkpoint(spec):
    first, second = (make_torch_codec(spec, torch.device("cpu")) for _ in range(2))
    keys = [key(device) for device in (0, 1)]

    def send(codec, seed):
        tensors = [torch.from_numpy(tensor(seed + device)) for device in (0, 1)]
        return [bytes(payload) for payload in codec.encode_batch(tensors, keys)]

    for seed in range(3):
        send(first, seed)
    second.restore(json.loads(json.dumps(first.state())))
    assert [send(second, seed) for seed in (7, 8)] == [send(first, seed) for seed in (7, 8)]
