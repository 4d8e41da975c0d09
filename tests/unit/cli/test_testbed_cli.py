"""``slfac testbed``: init, check and inventory as a user calls them."""

import json
import socket
import threading

import pytest
import yaml

from slfac.cli import main


@pytest.fixture
def speaker():
    """Listens on loopback, and greets whoever comes with some bytes."""
    listeners = []

    def start(greeting):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            while True:
                try:
                    with listener.accept()[0] as connection:
                        connection.sendall(greeting)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_init_then_check_then_export(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["testbed", "init"]) == 0
    assert main(["testbed", "init"]) == 2
    assert main(["testbed", "check", "--no-probe"]) == 0
    capsys.readouterr()
    assert main(["testbed", "inventory", "--ansible"]) == 0
    assert "slfac_devices" in yaml.safe_load(capsys.readouterr().out)["all"]["children"]


def test_check_says_which_hosts_answer(tmp_path, capsys, speaker):
    ssh, other = speaker(b"SSH-2.0-Test_1\r\n"), speaker(b"hello\n")
    closed, listen = free_port(), free_port()
    file = tmp_path / "lab.yaml"
    file.write_text(
        f"server: {{host: 127.0.0.1, port: {ssh}, listen: {listen}}}\n"
        "defaults: {data: d, host: x}\n".replace(", host: x", "")
        + "devices:\n"
        + "".join(
            f"- {{name: d{n}, host: 127.0.0.1, port: {port}}}\n"
            for n, port in enumerate((other, closed))
        )
        + "- {name: d2}\n"
    )
    assert main(["testbed", "check", str(file), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    levels = {finding["name"]: finding["level"] for finding in findings}
    assert levels == {
        "inventory": "ok",
        "server": "ok",
        "listen": "ok",
        "d0": "failed",
        "d1": "failed",
        "d2": "unknown",
    }
    text = json.dumps(findings)
    assert "SSH-2.0-Test_1" in text
    assert "not as SSH does" in text


def test_check_wants_no_ssh_of_a_server_on_this_machine(tmp_path, capsys):
    file = tmp_path / "lab.yaml"
    # Nothing answers at either port.
    file.write_text(
        f"server: {{host: localhost, port: {free_port()}, address: 127.0.0.1, "
        f"listen: {free_port()}}}\ndevices: [{{name: a, data: d}}]\n"
    )
    assert main(["testbed", "check", str(file), "--json"]) == 0
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["server"]["level"] == "ok"
    assert "without SSH" in json.dumps(findings["server"])


def test_check_finds_the_servers_port_taken(tmp_path, capsys, speaker):
    port = speaker(b"SSH-2.0-x\r\n")
    file = tmp_path / "lab.yaml"
    file.write_text(
        f"server: {{host: 127.0.0.1, port: {port}, listen: {port}}}\n"
        "devices: [{name: a, data: d}]\n"
    )
    assert main(["testbed", "check", str(file)]) == 1
    assert "something listens" in capsys.readouterr().out


def test_check_ends_with_one_line_for_a_faulty_file(tmp_path, capsys):
    file = tmp_path / "lab.yaml"
    file.write_text("devices:\n- name: A B\n")
    assert main(["testbed", "check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}:2: devices[0].name is 'A B'" in line
