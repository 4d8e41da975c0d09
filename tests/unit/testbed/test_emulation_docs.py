"""What docs/emulation.md says is what is there."""

import json
from pathlib import Path

from slfac.testbed.emulate.hosts import addresses
from slfac.testbed.emulate.plan import LanPlan, PlannedLink
from slfac.testbed.inventory.links import Link

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "emulation.md").read_text("utf-8")


def rows_of(heading):
    table = heading + PAGE.split(heading)[1].split("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line
    ]


def test_the_table_of_goodput_is_that_of_its_result():
    result = json.loads((DOCS / "results" / "links.json").read_text("utf-8"))
    expected = [
        [
            f"{row['mbits']:g} Mbit/s",
            row["direction"],
            f"{row['plain_mbits']:.2f}",
            f"{row['slfac_mbits']:.2f}",
            f"{row['share']:.1%}",
        ]
        for row in result["rows"]
    ]
    assert rows_of("| Link, 20 ms each way")[1:] == expected
    assert result["baseline"] == "iperf3"
    assert result["delay_ms"] == 20
    assert all(row["share"] >= 0.95 for row in result["rows"])
    assert ("on two cores that did nothing else" in PAGE) == (result["machine"]["load_15_min"] < 1)


def test_the_table_of_a_links_fields_is_complete():
    named = [row[0].strip("`") for row in rows_of("| Field of a link")[1:]]
    assert named == [field.alias or name for name, field in Link.model_fields.items()]


def test_addresses_are_as_the_page_says():
    link = PlannedLink(
        device="a",
        up_bit_per_s=None,
        down_bit_per_s=None,
        delay_s=0,
        jitter_s=0,
        loss=0,
        queue_s=1,
    )
    found = addresses(LanPlan(name="x", links=(link,)))
    assert found == {"server": "10.77.0.1", "control": "10.77.0.2", "a": "10.77.0.11"}
    assert "`server` is `.1`, `control` `.2`, devices\n  begin at `.11`" in PAGE
