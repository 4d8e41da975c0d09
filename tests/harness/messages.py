"""Hypothesis strategies for every message of the protocol, within its documented bounds."""

from hypothesis import strategies as st

from slfac.wire import messages as m

U32 = st.integers(0, 2**32 - 1)
U63 = st.integers(0, 2**63 - 1)
DIM = st.integers(0, 2**31 - 1)
MILLIS = st.floats(0, 1e12)


def text(limit):
    """Text of up to ``limit`` characters, surrogates left out: they are not UTF-8."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=limit)


BUNDLE_ID = st.text("0123456789abcdef", min_size=64, max_size=64)


def sections(most):
    """Up to ``most`` sections; sixteen of the longest would not fit into a header."""
    section = st.builds(
        m.Section,
        role=st.sampled_from(["smashed", "gradient", "target", "front", "bundle"]),
        name=text(12),
        codec=text(12),
        shape=st.lists(DIM, max_size=8).map(tuple),
        dtype=text(8),
        length=U32,
        crc=U32,
    )
    return st.lists(section, max_size=most).map(tuple)


TIMINGS = st.builds(m.Timings, *[MILLIS] * 9)
PARTS = st.integers(1, m.MAX_PARTS)
CLOCK = st.builds(m.Clock, st.floats(-1e15, 1e15), MILLIS)
SIDE = st.none() | st.floats(-1e15, 1e15)
PHASE = st.sampled_from(["forward", "send", "idle", "other", "step"])
ENERGY = st.builds(
    m.Energy,
    U63,
    st.sampled_from(["soc", "module", "board", "wall"]),
    st.none() | st.floats(0, 1e15),
    MILLIS,
    MILLIS,
    U63,
    st.lists(st.builds(m.PhaseEnergy, PHASE, MILLIS, SIDE, SIDE, SIDE), max_size=3).map(tuple),
)
PLAN = st.builds(
    m.Plan,
    rounds=st.integers(1, 10**6),
    batch_size=st.integers(1, 65536),
    steps_per_round=st.integers(0, 10**9),
    optimizer=text(256),
    codec_up=text(256),
    codec_down=text(256),
    seed=U32,
    partition=st.builds(
        m.Partition,
        scheme=st.sampled_from(["own", "iid", "dirichlet"]),
        beta=st.floats(0, 1e6, exclude_min=True),
        min_samples=st.integers(2, 10**6),
    ),
    micro_batches=PARTS,
    stream_blocks=PARTS,
)
SUMMARY = st.builds(m.Summary, st.booleans(), U63, U63, U63, text(64), text(64), text(64), U32)
KIND = st.sampled_from(["bundle", "join", "step", "head", "front", "evaluate", "score"])
FLOAT = st.floats(allow_nan=False)
MESSAGES = {
    "Hello": st.builds(
        m.Hello, U63, st.booleans(), U32, text(64), text(64), st.just("") | BUNDLE_ID
    ),
    "Welcome": st.builds(
        m.Welcome,
        *(U63, st.booleans(), text(64), text(64), text(64), U32, U32, BUNDLE_ID, U32, PLAN),
        text(64),
    ),
    "Request": st.builds(
        m.Request,
        U63,
        U63,
        text(64),
        KIND,
        U32,
        U32,
        U32,
        TIMINGS,
        sections(16),
        part=st.integers(0, m.MAX_PARTS - 1),
        parts=PARTS,
        step_samples=U32,
        clock=st.lists(CLOCK, max_size=1).map(tuple),
        loss=FLOAT,
        accuracy=FLOAT,
        balanced_accuracy=FLOAT,
        energy=st.lists(ENERGY, max_size=1).map(tuple),
    ),
    "Reply": st.builds(
        m.Reply,
        U63,
        U63,
        KIND,
        U32,
        st.sampled_from(["train", "stop", "evaluate"]),
        FLOAT,
        MILLIS,
        MILLIS,
        MILLIS,
        sections(16),
    ),
    "Chunk": st.builds(m.Chunk, U63, U63, U32),
    "Credit": st.builds(m.Credit, U63, U63),
    "Ping": st.builds(m.Ping, U63),
    "Refusal": st.builds(m.Refusal, U63, text(512), text(512), text(256)),
    "Bye": st.builds(
        m.Bye, U63, st.booleans(), TIMINGS, SUMMARY, st.lists(ENERGY, max_size=1).map(tuple)
    ),
    "Probe": st.builds(m.Probe, U63, U63, st.integers(0, 65536)),
    "Echo": st.builds(m.Echo, U63, U63, text(64), U63),
}
