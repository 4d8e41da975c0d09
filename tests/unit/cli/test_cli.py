"""The command ``slfac``: help, start-up, errors as one line, keys end to end."""

import os
import re
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from slfac import __version__
from slfac.cli import main
from slfac.wire.keys import AllowList, device_keys, read_public

COMMANDS = [
    *("demo", "export", "server", "device", "keys", "doctor", "profile", "bench"),
    *("plan", "image", "update", "experiment", "simulate", "testbed", "report"),
]
SERVER = ["server", "--bundle", "b", "--out", "o", "--insecure", "--devices", "a"]
SERVER += ["--bind", "tcp://127.0.0.1:1"]
DEVICE = ["device", "--server", "tcp://127.0.0.1:1", "--data", "d", "--insecure"]
EXPORT = ["export", "--input", "1x8x8", "--classes", "2", "--cut", "pool1", "--out", "o"]
KEYS = ["keys", "list", "--dir", "k"]


def python(code, *arguments, cwd=None, **environment):
    """Run Python code in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


def slfac(*arguments, cwd=None, **environment):
    """Run the command in a process of its own."""
    code = "import sys; from slfac.cli import main; sys.exit(main())"
    return python(code, *arguments, cwd=cwd, **environment)


def one_line(text):
    """The only line of an output."""
    (line,) = text.splitlines()
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    examples = text.partition("\nexample")[2]
    assert f"  slfac {command} " in f"{examples} " or f"  slfac {command}\n" in examples
    for line in re.findall(r"\n  slfac (\w+)", examples):
        assert line in COMMANDS


def test_the_help_lists_every_command_and_names_the_codes(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert set(re.findall(r"^    (\w+)(?: |$)", text, re.MULTILINE)) == set(COMMANDS)
    assert "docs/exit-codes.md" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_in_the_help_parse(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out.partition("\nexample")[2].replace("\\\n", " ")
    examples = re.findall(r"^  slfac (.*)$", text, re.MULTILINE)
    assert examples
    code = """
        import shlex, sys
        from slfac.cli.main import _parser
        for line in sys.argv[1:]:
            _parser().parse_args(shlex.split(line))
    """
    done = python(code, *examples)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "image --debug verify nowhere --no-boot",
        "image verify nowhere --no-boot --debug",
        "export --debug infer --bundle nowhere --checkpoint a --out b",
        "export infer --bundle nowhere --checkpoint a --out b --debug",
    ],
)
def test_tracebacks_are_asked_for_before_or_behind_an_action(line, capsys):
    for words in (line, line.replace(" --debug", "")):
        assert main(words.split()) > 2
        assert ("Traceback" in capsys.readouterr().err) == ("--debug" in words)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"slfac {__version__}\n"


def imported(*arguments, cwd):
    """Which heavy packages a command imports."""
    code = """
        import sys
        from slfac.cli import main
        try:
            main()
        except SystemExit:
            pass
        heavy = {"torch", "onnx", "onnxruntime", "numpy", "msgspec", "zmq", "pydantic", "rich"}
        print("", *sorted(heavy & set(sys.modules)), file=sys.stderr)
    """
    done = python(code, *arguments, cwd=cwd)
    assert done.returncode == 0
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command, tmp_path):
    assert imported(*filter(None, [command]), "--help", cwd=tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "own.yaml"),
        ("check", "lab.yaml", "--no-probe"),
        ("inventory", "lab.yaml", "--ansible"),
        ("emulate", "lab.yaml", "--stop"),
        ("status", "lab.yaml", "--emulate"),
        ("down", "lab.yaml", "--emulate"),
        ("cut", "pi-1", "--name", "lab"),
    ],
)
def test_a_testbed_is_looked_after_without_torch(arguments, tmp_path):
    run = "run: {bundle: b, mode: relay, optimizer: adam, early_stop: patience=2}\n"
    (tmp_path / "lab.yaml").write_text(
        f"name: lab-without-torch\n{run}server: {{data: d}}\ndevices: [{{name: pi-1, data: d}}]\n"
    )
    assert not {"torch", "onnx", "onnxruntime"} & imported("testbed", *arguments, cwd=tmp_path)


def test_experiments_are_listed_without_torch(tmp_path):
    assert not {"torch", "onnx", "onnxruntime"} & imported("experiment", "list", cwd=tmp_path)


def test_keys_import_only_the_library_that_makes_them(tmp_path):
    assert imported("keys", "new", "server", "--dir", "k", cwd=tmp_path) == {"zmq"}
    assert imported("keys", "list", "--dir", "k", cwd=tmp_path) == {"zmq"}


def test_a_device_that_runs_imports_neither_torch_nor_onnx(tmp_path):
    found = imported(*DEVICE, "--connect-timeout-s", "0", cwd=tmp_path)
    assert not found & {"torch", "onnx", "pydantic", "rich"}
    assert "onnxruntime" in found


BLOCK = """
    import sys
    from importlib.abc import MetaPathFinder

    class Missing(MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == sys.argv[1]:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    from slfac.cli import main
    sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("zmq", KEYS, "device"),
        ("msgspec", DEVICE, "device"),
        ("zmq", DEVICE, "device"),
        ("onnxruntime", DEVICE, "device"),
        ("safetensors", DEVICE, "device"),
        ("msgspec", ["profile", "sensors"], "device"),
        ("torch", SERVER, "server"),
        ("msgspec", SERVER, "server"),
        ("torch", EXPORT, "export"),
        ("rich", ["demo"], "testbed"),
        ("tomli", ["experiment", "rate"], "testbed"),
        ("pydantic", ["experiment", "run", "smoke"], "testbed"),
        ("matplotlib", ["report", "runs"], "testbed"),
        ("msgspec", ["demo"], "testbed"),
        ("rich", ["bench", "codec"], "testbed"),
        ("scipy", ["bench", "codec"], "testbed"),
        ("rich", ["bench", "overlap"], "testbed"),
        ("torch", ["bench", "codec", "--capture", "a.npz"], "testbed"),
    ],
)
def test_a_missing_package_is_one_line_that_names_the_extra(package, arguments, extra, tmp_path):
    done = python(BLOCK, package, *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    command = arguments[0]
    assert one_line(done.stderr) == (
        f"slfac {command}: a package is missing: No module named {package!r}; "
        f"install slfac with its extra {extra!r}: pip install 'slfac[{extra}]', "
        f"or '.[{extra}]' in its source folder"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["demo", "--bogus"],
        ["device", "--server"],
        ["device", "--server", "tcp://a:1", "--discover"],
        ["server", "--bundle"],
        ["demo", "--devices", "many"],
        ["demo", "--codec", "none", "--compare", "none,fp16"],
        ["export", "--input", "1x8x8", "--classes", "2", "--loss", "hinge"],
        ["bench"],
        ["bench", "codec", "--steps", "early"],
        ["profile"],
        ["profile", "sensors", "--scope", "planet"],
        ["profile", "sensors", "--i2c-address", "x"],
        ["keys"],
        ["keys", "new", "cat", "--dir", "k"],
        ["keys", "list"],
        ["experiment"],
        ["experiment", "rate", "--seed", "one"],
        ["experiment", "run"],
        ["experiment", "run", "smoke", "--data", "mnist5k"],
        ["experiment", "run", "smoke", "--set", "rounds"],
        ["report"],
        ["report", "runs", "--target", "high"],
        ["experiment", "rate", "--split", "train"],
        ["experiment", "rate", "--kwargs", "{"],
    ],
)
def test_a_wrong_command_line_exits_with_2_and_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert capsys.readouterr().err.startswith("usage: slfac")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["device"], 2, "setting data is missing; pass --data, or put it into the file of"),
        (["device", "--config", "nowhere.toml"], 2, "cannot read nowhere.toml: No such file"),
        ([*DEVICE, "--threads", "0"], 2, "setting threads is 0"),
        ([*DEVICE, "--connect-timeout-s", "-1"], 2, "setting connect_timeout_s is -1.0"),
        ([*DEVICE, "--provider", "cuda"], 2, "has no CUDAExecutionProvider, only"),
        ([*DEVICE, "--name", "A B"], 2, "setting name is 'A B'"),
        (DEVICE[:-1], 2, "setting keys is missing"),
        ([*DEVICE, "--server", "tcp://10.0.0.5:5555"], 2, "not a loopback address"),
        ([*DEVICE, "--server", "10.0.0.5"], 31, "address '10.0.0.5' is malformed"),
        ([*DEVICE, "--keys", "nowhere"], 32, "nowhere/device.key_secret is missing"),
        ([*DEVICE, "--bundle", "nowhere"], 20, "cannot read nowhere/manifest.json"),
        ([*DEVICE, "--connect-timeout-s", "0"], 30, "no server answered at tcp://127.0.0.1:1"),
        (["server", "--bundle", "b"], 2, "setting out is missing; pass --out, or put it into"),
        (["server", "--config", "nowhere.toml"], 2, "cannot read nowhere.toml: No such file"),
        (["server", "--resume", "r"], 2, "setting resume is 'r', which holds no checkpoint"),
        (["server", "--resume", "r", "--out", "o"], 2, "leave out --out"),
        (["server", "--resume", "r", "--config", "c.toml"], 2, "leave out --config"),
        (["keys", "revoke", "x", "--dir", "k"], 32, "k is no server's key folder"),
    ],
)
def test_an_error_is_one_line_with_a_remedy_and_its_own_code(arguments, code, said, tmp_path):
    done = slfac(*arguments, cwd=tmp_path)
    assert done.returncode == code
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"slfac {arguments[0]}: ")
    assert said in line
    assert "; " in line
    assert "Traceback" not in done.stderr


def test_debug_shows_where_an_error_came_from(tmp_path):
    quiet = slfac(*DEVICE, "--threads", "0", cwd=tmp_path)
    loud = slfac(*DEVICE, "--threads", "0", "--debug", cwd=tmp_path)
    assert quiet.returncode == loud.returncode == 2
    assert "Traceback (most recent call last)" in loud.stderr
    assert "SettingsError" in loud.stderr
    assert loud.stderr.splitlines()[-1] == quiet.stderr.splitlines()[-1]


def test_a_defect_is_one_line_and_asks_for_a_report(monkeypatch, capsys):
    def broken(folder):
        raise ZeroDivisionError(f"two\nlines about {folder}")

    monkeypatch.setattr("slfac.wire.keys.check_server_folder", broken)
    assert main(["keys", "list", "--dir", "k"]) == 1
    line = one_line(capsys.readouterr().err)
    assert line.startswith("slfac keys: internal error: ZeroDivisionError: two lines about k; ")
    assert "--debug" in line


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_command_in_one_line(number, code, said, monkeypatch, capsys):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(
        "slfac.wire.keys.check_server_folder", lambda _: signal.raise_signal(number)
    )
    assert main(["keys", "list", "--dir", "k"]) == code
    assert one_line(capsys.readouterr().err) == f"slfac keys: {said}"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["keys", "new", "server", "--dir", "k"]]
)
def test_a_reader_that_has_gone_is_no_error(arguments, unbuffered, tmp_path):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "slfac.cli", *arguments],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_keys_from_nothing_to_revoked(tmp_path, capsys):
    def run(*arguments):
        assert main(["keys", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    server, board = tmp_path / "server", tmp_path / "board"
    made = run("new", "server", "--dir", server)
    assert made == f"{server / 'server.key'}  {read_public(server / 'server.key').decode()}\n"
    made = run("new", "device", "--dir", board, "--server", server / "server.key")
    key = read_public(board / "device.key").decode()
    assert made == f"{board / 'device.key'}  {key}\n"
    assert device_keys(board).own.secret.decode() not in made
    assert stat.S_IMODE((board / "device.key_secret").stat().st_mode) == 0o600

    assert run("list", "--dir", server) == ""
    assert run("enroll", "pi-1", board / "device.key", "--dir", server) == "enrolled pi-1\n"
    assert run("list", "--dir", server) == "pi-1  enrolled\n"
    assert AllowList(server).name_of(key) == "pi-1"
    assert run("revoke", "pi-1", "--dir", server).startswith("revoked pi-1; ")
    assert run("list", "--dir", server) == "pi-1  revoked\n"
    assert AllowList(server).name_of(key) is None


def test_a_secret_key_is_not_enrolled_by_mistake(tmp_path, capsys):
    assert main(["keys", "new", "server", "--dir", str(tmp_path)]) == 0
    secret = tmp_path / "server.key_secret"
    assert main(["keys", "enroll", "a", str(secret), "--dir", str(tmp_path)]) == 32
    assert "holds a secret key" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "allowed").exists()


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ((*DEVICE, "--connect-timeout-s", "0"), ("1", "1")),
        ((*DEVICE, "--connect-timeout-s", "0", "--threads", "3"), ("3", "3")),
        (("device", "--config", "board.toml"), ("2", "2")),
        (("server", "--bundle", "x", "--out", "y"), ("1", "unset")),
        (("bench", "codec", "--repeat", "0"), ("1", "1")),
    ],
)
def test_numeric_libraries_get_few_threads_before_they_are_imported(command, wanted, tmp_path):
    code = """
import os, sys
from slfac.cli.main import main
assert "numpy" not in sys.modules
main(sys.argv[1:])
assert "numpy" in sys.modules
print(*(os.environ.get(f"{n}_NUM_THREADS", "unset") for n in ("OPENBLAS", "OMP")))
"""
    board = 'server = "tcp://127.0.0.1:1"\ndata = "x"\ninsecure = true\n'
    (tmp_path / "board.toml").write_text(board + "connect_timeout_s = 0\nthreads = 2\n")
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        env=clean,
        cwd=tmp_path,
        check=True,
    )
    assert tuple(done.stdout.split()) == wanted


@pytest.mark.parametrize("action", [("enroll", "a", "device.key"), ("revoke", "a"), ("list",)])
def test_a_folder_that_is_no_servers_is_refused_and_not_made(action, tmp_path, capsys):
    assert main(["keys", *action, "--dir", str(tmp_path / "servr")]) == 32
    assert "is no server's key folder" in capsys.readouterr().err
    assert not (tmp_path / "servr").exists()


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("none", ("none",)),
        ("none,fp16", ("none", "fp16")),
        ("slfac:theta=0.9,bmin=2,fp16", ("slfac:theta=0.9,bmin=2", "fp16")),
        (
            "slfac:theta=0.9,bmin=2@topk:ratio=0.1,fp16",
            ("slfac:theta=0.9,bmin=2@topk:ratio=0.1", "fp16"),
        ),
        ("fp16@slfac:bmin=2,bmax=3,none@fp16", ("fp16@slfac:bmin=2,bmax=3", "none@fp16")),
    ],
)
def test_specs_are_split_where_the_next_one_begins(text, specs):
    from slfac.cli.parsers import split_specs

    assert split_specs(text) == specs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--seed", "0,one"], "argument --seed: '0,one' is not whole numbers"),
        (["experiment", "rate", "--seed", ""], "argument --seed: '' is not whole numbers"),
        (["experiment", "rate", "--kwargs", "{"], "argument --kwargs: '{' is no JSON: "),
        (["bench", "codec", "--kwargs", "[]"], "argument --kwargs: '[]' is no JSON object"),
        (["bench", "codec", "--steps", "1,"], "argument --steps: '1,' is not whole numbers"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_is_wanted(arguments, said, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
