"""docs/wire-format.md against the code: tables, limits, sums, and a reader that knows only it."""

import json
import math
import re
import struct
import typing
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from slfac.wire import costs, manifest, messages, sockets
from slfac.wire.frame import (
    MAGIC,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    PROTOCOL_VERSION,
    decode_header,
)
from slfac.wire.meter import Traffic, wire_bytes
from slfac.wire.transfer import MIN_WINDOW_BYTES, WINDOW_BYTES

pytestmark = pytest.mark.device

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "contract" / "golden" / "v1" / "wire"
PAGE = (ROOT / "docs" / "wire-format.md").read_text("utf-8")
GOLDEN = sorted(path.stem for path in FOLDER.glob("*.bin"))
MESSAGES = typing.get_args(messages.Message)
NESTED = [
    messages.Section,
    messages.Timings,
    messages.Clock,
    messages.Energy,
    messages.PhaseEnergy,
    messages.Plan,
    messages.Partition,
    messages.Summary,
]
MANIFEST = [
    manifest.Manifest,
    manifest.TensorSpec,
    manifest.BufferSpec,
    manifest.RandomSpec,
    manifest.Graphs,
    manifest.Graph,
    manifest.Head,
    manifest.Preprocessing,
    manifest.BackSpec,
    manifest.FileEntry,
]
COSTS = [costs.Costs, costs.Layer]


def number(value):
    for power in (24, 31, 32, 53, 63):
        if value == 2**power:
            return f"2^{power}"
        if value == 2**power - 1:
            return f"2^{power} - 1"
    return f"{value:g}" if isinstance(value, float) else str(value)


def span(kind, low, high):
    if kind.gt is not None:
        return f" above {number(kind.gt)}" + (f", to {number(high)}" if high is not None else "")
    return "" if low is None else f" {number(low)} to {number(high)}"


def length(kind, word="of "):
    if kind.min_length:
        return f" of {kind.min_length} to {kind.max_length}"
    return f" {word}up to {kind.max_length}" if kind.max_length is not None else ""


def pairs(kind):
    inner = f"{described(kind.key_type)} -> {described(kind.value_type)}"
    return f"object: {inner}" + (f", up to {kind.max_length}" if kind.max_length else "")


WORDS = {
    inspect.BoolType: lambda _: "bool",
    inspect.AnyType: lambda _: "any JSON value",
    inspect.IntType: lambda kind: "int" + span(kind, kind.ge, kind.le),
    inspect.FloatType: lambda kind: "float" + span(kind, kind.ge, kind.le),
    inspect.StrType: lambda kind: (
        "text" + (f" matching `{kind.pattern}`" if kind.pattern else "") + length(kind, "")
    ),
    inspect.LiteralType: lambda kind: (
        "one of " + ", ".join(f"`{value}`" for value in sorted(kind.values))
    ),
    inspect.VarTupleType: lambda kind: f"array{length(kind)}: {described(kind.item_type)}",
    inspect.DictType: pairs,
    inspect.NoneType: lambda _: "nil",
    inspect.UnionType: lambda kind: ", or ".join(described(one) for one in kind.types),
    inspect.StructType: lambda kind: kind.cls.__name__,
}


def described(kind):
    """A field's type and bounds in the page's words."""
    return WORDS[type(kind)](kind)


def rows(heading):
    """Cells of the table that follows a heading, its own head left out."""
    pattern = rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)"
    (section,) = re.findall(pattern, PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def fields(cls):
    found = inspect.type_info(cls).fields
    return [(field.encode_name, described(field.type)) for field in found]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda cls: cls.__name__)
def test_the_page_has_the_fields_of_each_message(message):
    config = message.__struct_config__
    assert config.array_like
    table = rows(f"{message.__name__} ({config.tag})")
    expected = [
        [str(i), f"`{name}`", kind] for i, (name, kind) in enumerate(fields(message), start=1)
    ]
    assert [row[:3] for row in table] == expected
    assert all(row[3] for row in table)


@pytest.mark.parametrize("nested", NESTED, ids=lambda cls: cls.__name__)
def test_the_page_has_the_fields_of_each_struct_within(nested):
    expected = [[str(i), f"`{name}`", kind] for i, (name, kind) in enumerate(fields(nested))]
    assert [row[:3] for row in rows(nested.__name__)] == expected


@pytest.mark.parametrize("part", [*MANIFEST, *COSTS], ids=lambda cls: cls.__name__)
def test_the_page_has_the_fields_of_the_manifest(part):
    expected = [[f"`{name}`", kind] for name, kind in fields(part)]
    assert [row[:2] for row in rows(part.__name__)] == expected


def test_the_page_has_no_table_of_anything_else():
    headings = re.findall(r"^### (\w+)", PAGE.partition("## Messages")[2], re.MULTILINE)
    known = {cls.__name__ for cls in (*MESSAGES, *NESTED, *MANIFEST, *COSTS)}
    assert set(headings) - known == {"Structs", "The", "What"}
    assert known <= set(headings)


def test_the_limits_are_those_of_the_code():
    assert [row[1] for row in rows("Transport")] == [
        f"{MAX_HEADER_BYTES} bytes",
        f"{MAX_BODY_BYTES} bytes",
        f"{messages.MAX_SECTIONS}",
        f"{MIN_WINDOW_BYTES} bytes",
        f"{WINDOW_BYTES} bytes",
        f"{sockets.HEARTBEAT_MS} ms",
        f"{sockets.HEARTBEAT_TIMEOUT_MS} ms",
    ]
    assert f"ZAP domain `{sockets.ZAP_DOMAIN.decode()}`" in PAGE
    assert [row[3] for row in rows("Header frame")][:2] == ['`53 46` ("SF")', "1"]
    assert MAGIC + bytes([PROTOCOL_VERSION]) == bytes.fromhex("53 46 01")
    assert manifest.MAX_FILES == messages.MAX_SECTIONS - 1


def test_every_kind_of_request_is_described():
    kinds = [row[0].strip("`") for row in rows("Requests")]
    assert sorted(kinds) == sorted(typing.get_args(messages.Kind))


def cells(curve):
    """The column of the table of sums, as the code has it."""
    heartbeat = Traffic(connected_s=2.0, curve=curve).wire_bytes(2.0)[0]
    up, down = Traffic(connections=1, curve=curve).wire_bytes(2.0)
    short = 222 if curve else 255
    assert wire_bytes(short + 1, curve=curve) - wire_bytes(short, curve=curve) == 8
    least, most = wire_bytes(0, curve=curve), wire_bytes(short + 1, curve=curve) - short - 1
    ping = heartbeat // 2 + 1
    return [
        f"n + {least}",
        f"n + {most}",
        f"+ {2 * least}",
        f"+ {least + most}",
        str(ping),
        str(heartbeat - ping),
        str(up),
        str(down),
    ]


def test_the_sums_of_bytes_are_those_of_the_code():
    table = rows("Bytes on the network")
    assert [row[1] for row in table] == cells(curve=True)
    assert [row[2] for row in table] == cells(curve=False)


def test_the_worked_example_is_the_golden_vector():
    (block,) = re.findall(r"```hex\n(.*?)```", PAGE, re.DOTALL)
    octets = [re.match(r"(?:[0-9a-f]{2} )+", line).group() for line in block.splitlines()]
    frame = bytes.fromhex("".join(octets))
    assert frame == (FOLDER / "chunk.bin").read_bytes()
    total = wire_bytes(len(frame)) + wire_bytes(MAX_BODY_BYTES)
    assert f"{len(frame)} + {MAX_BODY_BYTES} + 77 = {total} bytes" in PAGE


class Reader:
    """MessagePack as this protocol uses it, from its specification."""

    SIZES: typing.ClassVar = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xCB: ">d"}
    COUNTS: typing.ClassVar = {0xD9: ">B", 0xDA: ">H", 0xDC: ">H"}

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def value(self):
        byte = self.unpack(">B")
        if byte < 0x80:
            return byte
        if byte in self.SIZES:
            return self.unpack(self.SIZES[byte])
        if byte in (0xC0, 0xC2, 0xC3):
            return None if byte == 0xC0 else byte == 0xC3
        array = 0x90 <= byte < 0xA0 or byte == 0xDC
        count = self.unpack(self.COUNTS[byte]) if byte in self.COUNTS else byte & 31
        if array:
            return [self.value() for _ in range(count & 15 if byte < 0xA0 else count)]
        assert 0xA0 <= byte < 0xC0 or byte in (0xD9, 0xDA)
        return self.take(count).decode("utf-8")


def named(values, names):
    """Array items under the names that the page gives them, structs within likewise."""
    out = {}
    # A default that is not empty is quoted right before these words.
    kept = re.compile(r".*?(?:`([^`]*)`)? where older writers leave it out")
    absent = [
        []
        if row[1].startswith("array")
        else float(match[1])
        if row[1].startswith(("int", "float"))
        else match[1] or ""
        for row in names
        if (match := kept.fullmatch(row[2]))
    ]
    missing = max(0, len(names) - len(values))
    values = [*values, *absent[len(absent) - missing :]]
    for (name, kind, _), value in zip(names, values, strict=True):
        if kind in STRUCTS:
            out[name] = named(value, STRUCTS[kind])
        elif kind.startswith("array") and (item := kind.rpartition(": ")[2]) in STRUCTS:
            out[name] = [named(one, STRUCTS[item]) for one in value]
        else:
            out[name] = "NaN" if isinstance(value, float) and math.isnan(value) else value
    return out


def columns(heading):
    return [(row[1].strip("`"), row[2], row[3]) for row in rows(heading)]


STRUCTS = {cls.__name__: columns(cls.__name__) for cls in NESTED}
NUMBERS = {int(tag): name for name, tag in re.findall(r"^### (\w+) \((\d+)\)$", PAGE, re.MULTILINE)}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_page_alone_is_enough_to_read_a_frame(name):
    reader = Reader((FOLDER / f"{name}.bin").read_bytes())
    assert reader.take(3) == b"SF\x01"
    tag, *values = reader.value()
    assert reader.at == len(reader.data)
    expected = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert NUMBERS[tag] == expected["message"]
    assert named(values, columns(f"{NUMBERS[tag]} ({tag})")) == expected["fields"]


def test_short_floats_and_integers_are_taken_for_floats():
    reply = decode_header((FOLDER / "reply-step.bin").read_bytes())
    values = list(msgspec.to_builtins(reply))
    prefix = MAGIC + bytes([PROTOCOL_VERSION])
    frame = prefix + msgspec.msgpack.encode(values)
    long = b"\xcb" + struct.pack(">d", 2.25)
    assert long in frame
    short = frame.replace(long, b"\xca" + struct.pack(">f", 2.25))
    assert decode_header(short) == reply
    whole = frame.replace(long, b"\x02")
    assert decode_header(whole).loss == 2.0
