"""What a hostile device says: messages that are wrong in a known way, and mutants of sound ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from harness.mutants import damage
from slfac.codec import make_codec
from slfac.wire.frame import MAX_BODY_BYTES, encode_header
from slfac.wire.messages import (
    Bye,
    Chunk,
    Credit,
    Echo,
    Hello,
    Kind,
    Ping,
    Probe,
    Refusal,
    Reply,
    Request,
    Section,
    Summary,
    Timings,
)
from slfac.wire.transfer import WINDOW_BYTES, Frames, Part, cut_transfer

Said = list[Sequence[bytes]]
_SUMMARY = Summary(False, 1, 2, 3, "3.11", "1.2", "x", 4)
_X = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 4, 4, 4)
_PARTS = [
    Part("smashed", "smashed", make_codec("none").encode(_X)),
    Part("target", "target", make_codec("none").encode(np.zeros(2, np.uint8))),
]


def hello(session: int, window_bytes: int = WINDOW_BYTES) -> Sequence[bytes]:
    """A sound greeting."""
    return encode_header(Hello(session, False, window_bytes, "0", "nobody", "")), b""


def ask(session: int, kind: Kind, seq: int = 1, **changes: object) -> Request:
    """A request's header, its sections still empty."""
    values = {"run": "", "round": 0, "step": 0, "samples": 2, "timings": Timings(), "sections": ()}
    return Request(session=session, seq=seq, kind=kind, **{**values, **changes})


def whole(header: Request, parts: Sequence[Part] = ()) -> Said:
    """The messages that carry a request."""
    return as_said(cut_transfer(header, parts))


def as_said(frames: Frames) -> Said:
    """The same as a device hands them to its socket."""
    return [(head, bytes(body)) for head, body in frames]


def _claim(session: int, *lengths: int, crc: int = 0) -> bytes:
    sections = tuple(Section("smashed", "smashed", "", (), "", length, crc) for length in lengths)
    return encode_header(ask(session, "step", sections=sections))


def _bomb(session: int, rng: random.Random) -> Said:
    """A header whose field announces far more than there is."""
    array = rng.choice([b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff"])
    head = encode_header(ask(session, "join"))
    return [(rng.choice([head[:3] + array, head[:-1] + array, head[:-1] + b"\xc6" + array]), b"")]


def _big_front(session: int, offset: int, length: int) -> Said:
    """The beginning of a front in chunks, and a chunk that does not go on where it ended."""
    head, body = whole(ask(session, "front"), [Part("front", "front", bytes(2 * MAX_BODY_BYTES))])[
        0
    ]
    return [(head, body), (encode_header(Chunk(session, 1, offset)), bytes(length))]


def _altered(said: Said, rng: random.Random) -> Said:
    (head, body), *rest = said
    at = rng.randrange(len(body))
    return [(head, body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]), *rest]


# By cause: each is refused with it, once, whatever happens beside, when it follows a greeting.
FAULTS: dict[str, list[Callable[[int, random.Random], Said]]] = {
    "frames": [
        lambda s, _r: [(encode_header(ask(s, "join")),)],
        lambda s, r: [(encode_header(Ping(s)), *[b"x"] * r.randint(2, 9))],
    ],
    "header": [
        _bomb,
        lambda s, r: [(encode_header(ask(s, "join"))[: r.randrange(20)], b"")],
        lambda s, r: [(b"SF" + bytes([r.randrange(2, 256)]) + encode_header(Ping(s))[3:], b"")],
        lambda _s, r: [(b"SF\x01" + r.choice([b"\x91", b"\x81\x01"]) * r.randint(9, 2000), b"")],
        lambda _s, r: [(r.randbytes(r.randint(0, 4200)), b"")],
    ],
    "session": [
        lambda s, r: whole(ask(s + r.randint(1, 99), "step"), _PARTS),
        lambda s, r: [(encode_header(Chunk(s ^ 1 << r.randrange(40), 1, 0)), b"x")],
        lambda s, _r: [(encode_header(Bye(s + 1, True, Timings(), _SUMMARY)), b"")],
    ],
    "hello": [lambda s, r: [hello(s + 1, r.randrange(2 * MAX_BODY_BYTES))]],
    "direction": [
        lambda s, _r: [(encode_header(Ping(s)), b"")],
        lambda s, _r: [(encode_header(Refusal(s, "no", "")), b"")],
        lambda s, _r: [(encode_header(Echo(s, 1, "0", 5)), b"")],
        lambda s, r: [(encode_header(Probe(s, 1, r.randrange(65537))), b"")],
        lambda s, _r: as_said(
            cut_transfer(Reply(s, 1, "step", 0, "train", 0.0, 0.0, 0.0, 0.0, ()), _PARTS)
        ),
    ],
    "order": [
        lambda s, r: whole(ask(s, "join", r.choice([2, 3, 1 << 62]))),
        lambda s, r: whole(ask(s, "step", r.randint(2, 99)), _PARTS),
    ],
    "payload": [
        lambda s, r: [(_claim(s, r.choice([2**32 - 1, 2**31, 2**27])), b"x" * 64)],
        lambda s, r: [(_claim(s, *[2**32 - 1] * r.randint(2, 16)), bytes(MAX_BODY_BYTES))],
        lambda s, r: [(_claim(s, r.randint(65, 4000)), b"x" * 64)],
        lambda s, r: [(_claim(s, r.randint(0, 63)), b"x" * 64)],
        lambda s, _r: [(_claim(s, 64, crc=1), b"x" * 64)],
        lambda s, r: _altered(whole(ask(s, "step"), _PARTS), r),
        lambda s, _r: whole(ask(s, "join"), _PARTS),
        lambda s, _r: [(encode_header(Chunk(s, 1, 0)), b"x")],
        lambda s, r: _big_front(s, r.choice([0, 1, 1 << 31]), 10),
        lambda s, _r: _big_front(s, MAX_BODY_BYTES, 0),
    ],
    "credit": [lambda s, r: [(encode_header(Credit(s, r.randint(1 << 20, 2**63 - 1))), b"")]],
}

# Sound messages of each kind, to be damaged. All requests have the number 1, so that no step can
# follow its session's being let in, and what is still sound trains nobody's weights.
SOUND: list[Callable[[int, str], Said]] = [
    lambda s, _run: [hello(s)],
    lambda s, run: whole(ask(s, "join", run=run)),
    lambda s, run: whole(ask(s, "bundle", run=run)),
    lambda s, run: whole(ask(s, "resume", run=run, round=1, step=3)),
    lambda s, run: whole(ask(s, "step", run=run), _PARTS),
    lambda s, run: whole(ask(s, "front", run=run), [Part("front", "front", bytes(700))]),
    lambda s, _run: [(encode_header(Chunk(s, 1, 0)), b"x" * 90)],
    lambda s, _run: [(encode_header(Credit(s, 0)), b"")],
    lambda s, _run: [(encode_header(Bye(s, False, Timings(), _SUMMARY)), b"")],
]


def mutant(session: int, run: str, rng: random.Random) -> Said:
    """A sound message, damaged, sent twice, left out or out of order.

    Args:
        session: The session that was greeted with.
        run: Id of the run.
        rng: Chooses.
    """
    said = rng.choice(SOUND)(session, run)
    how = rng.randrange(6)
    if how == 0:
        return said * 2
    if how == 1:
        return [*said, *rng.choice(SOUND)(session, run)][:: rng.choice([1, -1])]
    frames = [*said[0]]
    # More often its header, where there is more to break.
    which = how == 2
    damaged = damage(bytearray(frames[which]), rng, [bytes(frame) for frame in frames if frame])
    frames[which] = bytes(damaged[:MAX_BODY_BYTES])
    return [tuple(frames)]


Made = Callable[[int], Said]


class Insult(msgspec.Struct):
    """A member's bad request.

    Attributes:
        causes: What it may be counted as.
        made: Its messages, for a session.
    """

    causes: set[str]
    made: Made


def bad_steps(run: str, round_: int, shape: tuple[int, ...], samples: int) -> list[Insult]:
    """What a member of the run may say, and what it is refused for.

    Args:
        run: Id of the run.
        round_: The present round.
        shape: Of one sample's smashed data.
        samples: Samples in a batch.
    """
    rng = np.random.default_rng(round_)
    x = rng.normal(size=(samples, *shape)).astype(np.float32)
    target = np.zeros(samples, np.uint8)
    nan = bytearray(make_codec("none").encode(x))
    nan[-4:] = np.float32(np.nan).tobytes()

    plain = make_codec("none").encode

    def step(smashed: bytes | np.ndarray, labels: np.ndarray = target, **changes: object) -> Made:
        data = smashed if isinstance(smashed, bytes) else plain(smashed)
        parts = [
            Part("smashed", "smashed", data),
            Part("target", "target", plain(labels)),
        ]
        values = {"run": run, "round": round_, "samples": samples, **changes}
        return lambda session: whole(ask(session, "step", 2, **values), parts)

    sound = bytes(make_codec("none").encode(x))
    return [
        Insult({"codec", "values"}, step(bytes(nan))),
        Insult({"values"}, step(x * np.float32(1e20))),
        Insult({"codec", "request"}, step(x[..., :-1])),
        Insult({"codec", "request"}, step(x[:-1])),
        Insult({"codec"}, step(sound[:-3])),
        Insult({"codec"}, step(sound + b"x")),
        Insult({"codec"}, step(b"\xff" * 40)),
        Insult({"codec"}, step(b"")),
        Insult({"request"}, step(x, np.full(samples, 200, np.uint8))),
        Insult({"codec", "request"}, step(x, np.zeros(samples + 1, np.uint8))),
        Insult({"request"}, step(x, samples=0)),
        Insult({"request"}, step(x, samples=2**32 - 1)),
        Insult({"request"}, step(x, round=round_ + 1)),
        Insult({"request"}, step(x, run="another")),
        Insult({"request"}, lambda s: whole(ask(s, "step", 2, run=run, round=round_))),
        Insult({"request"}, lambda s: whole(ask(s, "join", 2, run=run))),
        Insult({"request"}, lambda s: whole(ask(s, "resume", 2, run=run, round=round_))),
        Insult({"request"}, lambda s: whole(ask(s, "front", 2, run=run, round=round_), _PARTS)),
    ]
