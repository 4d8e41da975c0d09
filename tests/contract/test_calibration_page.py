"""docs/calibration.md says what messages, commands and simulations say."""

import re

import msgspec
import pytest

from harness import gainsim, radiosim
from harness.calibration_page import PAGE
from slfac.cli.main import _parser
from slfac.device.profiling.link import messages
from slfac.device.profiling.radio.blocks import KINDS

pytestmark = pytest.mark.device
TEXT = PAGE.read_text("utf-8")


def rows(name):
    """Cells of the rows between a table's marks."""
    table = TEXT.split(f"<!-- {name}: ")[1].split(f"<!-- end of {name}")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[3:]]


def test_every_message_is_described_with_its_number_and_fields():
    for kind in (*messages.Asked.__args__, *messages.Said.__args__):
        config = kind.__struct_config__
        match = re.search(rf"^\| {kind.__name__} \({config.tag}\), [^|]+ \| ([^|]*)\|", TEXT, 8)
        assert match, kind
        named = re.sub(r"\([^)]*\)", "", match[1]).replace(" ", "")
        assert tuple(filter(None, named.split(","))) == kind.__struct_fields__
    assert f"{messages.MAX_HEADER_BYTES} bytes" in TEXT
    assert messages.encode(messages.Leave()) == b"SL\x01" + msgspec.msgpack.encode([3])


@pytest.mark.parametrize(
    ("name", "scenes", "held"),
    [("radio", radiosim.SCENES, (3, 6, 9)), ("gain", gainsim.SCENES, (3, 6))],
)
def test_tables_have_all_scenes_and_nine_of_ten_intervals_hold(name, scenes, held):
    found = rows(name)
    assert [cells[0] for cells in found] == list(scenes)
    for cells in found:
        assert all(int(cells[i].rstrip("%")) >= 90 for i in held), cells


def test_every_command_and_option_exists():
    lines = re.findall(r"^slfac (.*?)(?: +#.*)?$", TEXT.replace("\\\n", ""), re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        words = re.findall(r'"[^"]*"|\S+', line)
        assert _parser().parse_args([word.strip('"') for word in words]).command == "profile"


def test_the_blocks_are_those_of_the_plan():
    for kind in KINDS:
        size = "64 KiB" if kind.body_bytes == 65536 else f"{kind.body_bytes} bytes"
        rate = f"{1 / kind.gap_s:g} a second" if kind.gap_s else "as fast as the link takes them"
        assert f"| {size} | {rate} |" in TEXT


def test_the_python_on_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, "calibration.md", "exec"), {})  # noqa: S102 - our own page
    assert "no server answered at tcp://127.0.0.1:9" in capsys.readouterr().out
