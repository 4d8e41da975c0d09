"""The inventory: what it holds, and that every fault is named with its line."""

import contextlib
import re
import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from slfac.testbed.emulate.plan import PlannedLink, plan_from_json, plan_of
from slfac.testbed.inventory import (
    ansible_inventory,
    combinations,
    load_inventory,
    write_template,
)
from slfac.testbed.inventory.template import template
from slfac.testbed.inventory.yaml_file import parse_yaml
from slfac.testbed.quantities import parse_rates, parse_share, parse_time
from slfac.wire.errors import SettingsError

SMALL = """\
server: {host: 10.0.0.5}
defaults:
  data: /data
  port: 2222
devices:
  - name: pi-1
    host: 10.0.0.11
  - name: pi-2
    host: pi-2.lan
    port: 22
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "lab.yaml"
        file.write_text(textwrap.dedent(text), "utf-8")
        return load_inventory(file)

    return load


def fault(load, text):
    with pytest.raises(SettingsError) as raised:
        load(text)
    line = str(raised.value)
    assert "\n" not in line
    return line[line.index("lab.yaml") :]


def test_what_init_writes_is_valid_and_says_every_default(tmp_path):
    file = tmp_path / "testbed.yaml"
    write_template(file)
    inventory = load_inventory(file)
    assert [device.name for device in inventory.devices] == ["pi-1", "pi-2", "pi-3"]
    assert inventory.devices[0].board == "pi-4b"
    assert inventory.devices[2].board == "pi-5"
    assert inventory.run.model.input_shape == (1, 28, 28)
    fields = {"server", "devices", "links", "emulate", "run", "defaults", "known_hosts", "name"}
    assert fields == set(yaml.safe_load(template()))


def test_init_overwrites_nothing(tmp_path):
    file = tmp_path / "testbed.yaml"
    file.write_text("mine")
    with pytest.raises(SettingsError, match="exists"):
        write_template(file)
    assert file.read_text() == "mine"
    with pytest.raises(SettingsError, match="cannot write"):
        write_template(tmp_path / "no" / "testbed.yaml")


def test_defaults_serve_hosts_that_say_nothing_else(load):
    inventory = load(SMALL)
    assert inventory.name == "lab"
    assert [device.port for device in inventory.devices] == [2222, 22]
    assert {device.data for device in inventory.devices} == {"/data"}
    assert inventory.server.port == 2222
    assert inventory.server.data is None


def test_links_take_what_they_lack_from_the_default(load):
    inventory = load(
        SMALL
        + """\
links:
  default: {rate: 5Mbit/20Mbit, delay: 20ms, loss: 1%}
  pi-2: {rate: 1Gbit, cuts: [{at: 30s, for: 10s}], jitter: 500us, queue: 50ms}
"""
    )
    link = inventory.link("pi-1")
    assert (link.rate, link.delay_s, link.loss) == ((5e6, 20e6), 0.02, 0.01)
    link = inventory.link("pi-2")
    assert link.rate == (1e9, 1e9)
    assert (link.delay_s, link.loss, link.jitter_s, link.queue_s) == (0.02, 0.01, 5e-4, 0.05)
    assert (link.cuts[0].at_s, link.cuts[0].for_s) == (30, 10)


def test_a_testbed_without_links_has_unlimited_ones(load):
    link = load(SMALL).link("pi-1")
    assert (link.rate, link.delay_s, link.loss, link.cuts) == (None, 0, 0, ())


def test_paths_of_this_machine_are_relative_to_the_file(load, tmp_path):
    inventory = load(
        "known_hosts: known\nserver: {key: id}\ndevices: [{name: a, data: d, board: ./b.toml}]\n"
        "run: {bundle: b}"
    )
    assert inventory.known_hosts == tmp_path / "known"
    assert inventory.server.key == tmp_path / "id"
    assert inventory.run.bundle == tmp_path / "b"
    assert inventory.devices[0].board == str(tmp_path / "b.toml")
    assert inventory.devices[0].data == "d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SMALL.replace("port: 22\n", "port: 99999\n"),
            r"lab.yaml:10: devices\[1\].port is 99999: ",
        ),
        (SMALL.replace("2222", "no"), r"lab.yaml:4: .*port is 'no'"),
        (SMALL.replace("name: pi-2", "name: pi-1"), r":8: .*'pi-1', as is that of line 6; give"),
        (SMALL.replace("name: pi-2", "name: server"), r":8: .*'server', which means something"),
        (SMALL.replace("name: pi-2", "name: Pi_2!"), r":8: devices\[1\].name is 'Pi_2!'"),
        (
            SMALL.replace("pi-2.lan\n    port: 22", "10.0.0.11"),
            r":9: devices\[1\].host is '10.0.0.11' with port 2222, as is that of line 7",
        ),
        (SMALL.replace("pi-2.lan", "-oProxy"), r":9: devices\[1\].host is '-oProxy'; give a host"),
        (SMALL.replace("pi-2.lan", "10.0.0"), r":9: devices\[1\].host is '10.0.0'; give a host"),
        (SMALL.replace("    port: 22\n", "    prot: 22\n"), r":10: .*devices\[1\].prot; .* port"),
        (SMALL.replace("  data: /data\n", ""), r":5: devices\[0\].data is missing \(and 1 more\)"),
        (SMALL.replace("/data", "'a;b'"), r":3: .*data is 'a;b', with characters"),
        ("devices: []\nserver: {}", r":1: devices is \[\]"),
        ("server: {}", r"lab.yaml: devices is missing"),
        (SMALL + "links: {pi-3: {}}", r":11: links.pi-3 is of no device; the nearest is pi-"),
        (SMALL + "links:\n  pi-1: {rate: 5}", r":12: links.pi-1.rate is 5; give a number"),
        (SMALL + "links:\n  pi-1: {rate: 5Mb}", r":12: links.pi-1.rate is '5Mb'; give a rate"),
        (SMALL + "links:\n  default: {delay: 5}", r":12: links.default.delay is 5; give"),
        (SMALL + "links:\n  pi-1: {loss: 101%}", r":12: links.pi-1.loss is '101%'; give one"),
        (SMALL + "links:\n  pi-1: {dealy: 1s}", r":12: .*links.pi-1.dealy; the nearest is delay"),
        (SMALL + "links:\n  pi-1:\n    cuts: [{at: 1s}]", r":13: .*cuts\[0\].for is missing"),
        (SMALL + "emulate: {shaper: magic}", r":11: emulate.shaper is 'magic'"),
        (SMALL + "run: {}", r":11: run is {}; give either bundle or model"),
        (SMALL + "run: {bundle: b, bind: 'tcp://*:1'}", r":11: run.bind .*; give server.listen"),
        (SMALL + "run:\n  bundle: b\n  rouns: 1", r":13: .*run.rouns; the nearest is rounds"),
        (SMALL + "run:\n  bundle: b\n  rounds: 0", r":13: setting rounds is 0"),
        (SMALL + "run:\n  bundle: b\n  codec: zip", r":13: setting codec_up is 'zip'"),
        (SMALL + "extra: 1", r":11: there is no field extra; the nearest is"),
        (SMALL + "file: /etc/passwd", r":11: there is no field file"),
        (SMALL + "name: ../x", r":11: name is '../x'"),
        ("a: [1", r":\d: this is no YAML"),
        ("a: 1\na: 2", r":2: a stands here again"),
        ("server: {port: 1,\n port: 2}", r":2: port stands here again"),
        ("- 1", r"lab.yaml holds no settings"),
        ("", r"lab.yaml holds no settings"),
        ("a: &x 1\nb: *x", r":1: an anchor stands here"),
        ("a: !!python/object/apply:os.system ['true']", r":1: the tag .*stands here"),
        ("? [a]\n: 1", r":1: a list or mapping stands here as a key"),
        ("a: " + "[" * 40 + "]" * 40, r":1: more than 12 levels"),
        ("a: [" + "1," * 30_000 + "]", r"lab.yaml holds more than 20000 values"),
        ("a: " + "x" * 300_000, r"lab.yaml has more than"),
        ("a: 1\n---\nb: 2", r":\d: this is no YAML"),
        ("a: \x07", r"lab.yaml is no YAML"),
    ],
)
def test_faults_name_file_line_field_value_and_remedy(load, text, expected):
    line = fault(load, text)
    assert re.search(expected, line), line
    assert ";" in line


def test_a_fault_of_a_default_is_reported_where_it_stands(load):
    line = fault(load, SMALL.replace("port: 2222", "user: 'a b'"))
    assert ":4: " in line


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    file = tmp_path / "lab.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(SettingsError, match=r"lab.yaml:2: this is no UTF-8"):
        load_inventory(file)
    with pytest.raises(SettingsError, match="cannot read"):
        load_inventory(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot read"):
        load_inventory(tmp_path)
    with pytest.raises(SettingsError, match="cannot read"):
        load_inventory(Path("a\0b"))


def test_scalars_are_those_of_yaml_1_2():
    text = b"{a: no, b: 1:30, c: 010, d: 0x1f, e: true, f: ~, g: '1', h: 1e3, i: 2026-01-01}"
    values = parse_yaml(text, Path("f"), remedy="").values
    expected = ["no", "1:30", 10, "0x1f", True, None, "1", 1000.0, "2026-01-01"]
    assert list(values.values()) == expected


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfa: 1")
@example(b"%YAML 9.9\n---\na: 1")
@example(b"a: !<x> 1")
@example(b"? ? ? a")
def test_no_bytes_do_more_than_be_refused(data):
    try:
        values = parse_yaml(data, Path("f"), remedy="").values
    except SettingsError:
        return
    assert isinstance(values, dict)


# Line breaks of Unicode are a matter of YAML 1.1 alone, and its writer's own trouble.
_TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_another_writer_writes_is_read_as_it_was(value):
    text = yaml.safe_dump({"value": value}, allow_unicode=True)
    document = parse_yaml(text.encode(), Path("f"), remedy="")
    # Names that only YAML 1.1 knows as something else are quoted by it.
    assert document.values == {"value": value}
    assert all(1 <= line <= text.count("\n") + 1 for line in document.lines.values())


@given(st.text(max_size=12) | st.from_regex(r"\d{1,3}(\.\d)?(Mbit|ms|%|s|x)?", fullmatch=True))
def test_a_quantity_is_read_or_refused(text):
    for parse, most in ((parse_time, 86400), (parse_share, 1)):
        with contextlib.suppress(SettingsError):
            assert 0 <= parse(text) <= most
    with contextlib.suppress(SettingsError):
        assert min(parse_rates(text)) >= 1e3


def test_quantities_have_the_size_that_their_unit_says():
    assert parse_time("1.5min") == 90
    assert parse_time("250us") == pytest.approx(25e-5)
    assert parse_share("0.5%") == 0.005
    assert parse_rates("1Mbit/20kbit") == (1e6, 2e4)


def test_ansible_gets_the_connection_and_the_variables(load, tmp_path):
    inventory = load(SMALL.replace("10.0.0.5", "10.0.0.5, user: lab, key: 'my id'"))
    tree = yaml.safe_load(ansible_inventory(inventory))["all"]["children"]
    server = tree["slfac_server"]["hosts"]["server"]
    assert server["ansible_host"] == "10.0.0.5"
    assert server["ansible_user"] == "lab"
    assert server["ansible_ssh_private_key_file"] == str(tmp_path / "my id")
    devices = tree["slfac_devices"]["hosts"]
    assert devices["pi-1"]["ansible_port"] == 2222
    assert devices["pi-2"]["slfac_data"] == "/data"
    assert "StrictHostKeyChecking=yes" in devices["pi-2"]["ansible_ssh_common_args"]


def test_ansible_is_told_of_no_host_without_address(load):
    with pytest.raises(SettingsError, match=r"devices\[0\].host is missing"):
        ansible_inventory(load("server: {host: a}\ndevices: [{name: a, data: d}]"))


VARIED = (
    SMALL
    + """\
run:
  model: {name: cnn, cut: pool1, input: 1x28x28, classes: 10}
  rounds: 2
matrix:
  codec: [none, slfac]
  seed: [0, 1]
"""
)


def test_every_combination_of_a_matrix_is_a_run(load):
    found = combinations(load(VARIED))
    assert [one.label for one in found] == [
        *("codec none, seed 0", "codec none, seed 1"),
        *("codec slfac, seed 0", "codec slfac, seed 1"),
    ]
    assert [one.folder for one in found][1] == "codec-none-seed-1"
    settings = [one.inventory.run.settings for one in found]
    assert settings[2] == {"rounds": 2, "codec": "slfac", "seed": 0}
    assert all(one.inventory.matrix == {} for one in found)
    (lone,) = combinations(load(SMALL))
    assert lone.label == lone.folder == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[none, slfac]", "none", "lab.yaml:15: matrix.codec is 'none'"),
        ("[none, slfac]", "[]", "lab.yaml:15: matrix.codec is []"),
        ("[none, slfac]", "[none, none]", "give each value once"),
        ("[none, slfac]", "[none, fog]", "lab.yaml:15: setting codec"),
        ("codec:", "codex:", "lab.yaml:15: matrix.codex: there is no such setting; the nearest"),
        ("rounds: 2", "seed: 2", "lab.yaml:16: matrix.seed and run.seed are both given"),
        ("[0, 1]", "[0, -1]", "lab.yaml:16: setting seed is -1"),
        ("seed: [0, 1]", "out: [a, b]", "lab.yaml:16: matrix.out: there is no such setting"),
        ("seed: [0, 1]", f"seed: {list(range(101))}", "lab.yaml:16: matrix.seed is"),
    ],
)
def test_what_is_wrong_in_a_matrix_is_named_with_its_line(load, old, new, said):
    assert said in fault(load, VARIED.replace(old, new))


def test_a_matrix_is_of_a_run_and_has_an_end(load):
    text = VARIED[: VARIED.index("run:")] + VARIED[VARIED.index("matrix:") :]
    assert "matrix.codec varies a run, and there is no `run`" in fault(load, text)
    text = VARIED.replace("[0, 1]", f"{list(range(100))}").replace(
        "[none, slfac]", f"[{', '.join(f'topk:ratio=0.{n}' for n in range(10, 30))}]"
    )
    assert "matrix has 2000 runs; use at most 1000" in fault(load, text)


def test_an_emulated_lan_gets_every_field_of_a_link(load):
    text = (
        SMALL
        + """\
links:
  pi-2: {rate: 1Mbit/3Mbit, delay: 4ms, jitter: 5ms, loss: 6%, queue: 7ms,
         cuts: [{at: 8s, for: 9s}]}
emulate: {seed: 11, shaper: tap, congestion: reno}
"""
    )
    plan = plan_of(load(text))
    assert (plan.seed, plan.shaper, plan.congestion, plan.listen) == (11, "tap", "reno", 5555)
    assert plan.links[1] == PlannedLink(
        device="pi-2",
        up_bit_per_s=1e6,
        down_bit_per_s=3e6,
        delay_s=0.004,
        jitter_s=0.005,
        loss=0.06,
        queue_s=0.007,
        cuts=((8.0, 9.0),),
    )
    assert plan.links[0].up_bit_per_s is None
    assert plan_from_json(plan.to_json()) == plan
