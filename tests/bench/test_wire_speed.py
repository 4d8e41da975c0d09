"""Cutting a payload into messages and collecting it again, beside a copy of its bytes."""

import pytest

from slfac.wire.frame import decode_header
from slfac.wire.messages import Request, Timings
from slfac.wire.transfer import Inbox, Part, cut_transfer

PAYLOAD = bytes(1 << 20)


@pytest.mark.benchmark(group="wire, 1 MB")
def test_copy(benchmark):
    benchmark(bytearray, PAYLOAD)


@pytest.mark.benchmark(group="wire, 1 MB")
def test_cut_and_collect(benchmark):
    request = Request(
        session=1,
        seq=1,
        run="run",
        kind="step",
        round=0,
        step=0,
        samples=1,
        timings=Timings(),
        sections=(),
    )

    def travel():
        frames = cut_transfer(request, [Part("smashed", "z", PAYLOAD), Part("target", "t", b"1")])
        inbox = Inbox(2 << 20)
        (head, body), *chunks = frames
        transfer = inbox.begin(decode_header(head), memoryview(body))
        for head, body in chunks:
            transfer = inbox.chunk(decode_header(head), memoryview(body))
        return transfer

    assert benchmark(travel).payload[0] == PAYLOAD
