"""What goes wrong for people: one clear line, a documented exit code, nobody else harmed."""

import shutil
import signal
import socket
import threading

import numpy as np
import pytest
import zmq

from harness.site import WAIT_S, Site, start_cli, write_digits
from slfac.export import export_bundle
from slfac.wire.errors import (
    AddressError,
    AuthError,
    BundleError,
    DataError,
    KeyFileError,
    LinkError,
    ProtocolError,
    RefusedError,
    SettingsError,
    TrainingError,
)
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.keys import AllowList, new_keys
from slfac.wire.manifest import Preprocessing
from slfac.wire.messages import Hello, Refusal


def outcome(process, error_class=None):
    """Exit code and error line of a process; never a traceback."""
    _, errors = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in errors
    lines = errors.strip().splitlines()
    if error_class is not None:
        assert process.returncode == error_class.exit_code, errors
    return process.returncode, lines[-1] if lines else ""


def server_cli(site, *more, **paths):
    values = {"bundle": site.bundle, "data": site.data, "out": site.root / "out", **paths}
    arguments = [part for key, value in values.items() for part in (f"--{key}", str(value))]
    keys = ("--keys", str(site.keys("server")))
    return start_cli("server", *keys, "--bind", "tcp://127.0.0.1:*", *arguments, *more)


def test_bundle_with_a_missing_file_is_named(site, tmp_path):
    bundle = shutil.copytree(site.bundle, tmp_path / "broken")
    (bundle / "backward.onnx").unlink()
    _, line = outcome(server_cli(site, bundle=bundle), BundleError)
    assert "backward.onnx" in line
    assert "export it again" in line


def test_bundle_with_a_flipped_byte_is_named(site, tmp_path):
    bundle = shutil.copytree(site.bundle, tmp_path / "broken")
    data = bytearray((bundle / "back.safetensors").read_bytes())
    data[-5] ^= 1
    (bundle / "back.safetensors").write_bytes(data)
    _, line = outcome(server_cli(site, bundle=bundle), BundleError)
    assert "back.safetensors does not match its hash" in line


def test_taken_port_is_said(site):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        process = server_cli(site, "--bind", address)
        _, line = outcome(process, AddressError)
    assert f"{address} is taken" in line


def test_absent_server_is_said(site):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    process = site.device_process("d0", address, "--connect-timeout-s", "1")
    code, line = outcome(process)
    assert code == LinkError.exit_code
    assert f"no server answered at {address} within 1 s" in line


def test_something_else_that_listens_is_no_server(site):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        process = site.device_process("d0", address, "--connect-timeout-s", "1")
        _, line = outcome(process, ProtocolError)
    assert "no slfac server" in line


def test_missing_keys_are_said(site, tmp_path):
    process = site.device_process("d0", "tcp://127.0.0.1:1", "--keys", str(tmp_path / "none"))
    _, line = outcome(process, KeyFileError)
    assert "slfac keys new device" in line


def test_bad_setting_names_field_and_value(site):
    process = site.device_process("d0", "tcp://127.0.0.1:1", "--threads", "0")
    _, line = outcome(process, SettingsError)
    assert "setting threads is 0" in line
    _, line = outcome(server_cli(site, "--codec", "slfac:theta=2"), SettingsError)
    assert "theta" in line


@pytest.mark.parametrize("fault", ["stranger", "revoked", "wrong server key"])
def test_wrong_keys_are_told_apart_and_others_go_on(site, fault):
    if fault == "stranger":
        new_keys(site.keys("odd"), "device", site.keys("server") / "server.key")
    elif fault == "revoked":
        certificate = new_keys(site.keys("odd"), "device", site.keys("server") / "server.key")
        allowed = AllowList(site.keys("server"))
        allowed.enroll("odd", certificate)
        allowed.revoke("odd")
    else:
        shutil.copytree(site.keys("d0"), site.keys("odd"))
        other = new_keys(site.root / "other", "server")
        shutil.copyfile(other, site.keys("odd") / "server.key")
    with site.server() as server:
        _, line = outcome(site.device_process("odd", server.address), AuthError)
        devices = [site.device(name, server.address).start() for name in site.names]
        for device in devices:
            device.finish()
    assert server.finished().accuracy is not None
    wanted = "server.key" if fault == "wrong server key" else "refused this device's key"
    assert wanted in line


def test_enrolled_device_outside_the_run_is_turned_away(site):
    with site.server(devices=("d0",)) as server:
        _, line = outcome(site.device_process("d1", server.address), RefusedError)
        site.device("d0", server.address).start().finish()
    assert "'d1' is not part of this run" in line


def test_device_revoked_in_mid_run_is_shut_out_and_the_others_finish(site):
    with site.server(rounds=6) as server:
        devices = [site.device(name, server.address).start() for name in site.names]
        server.await_event("round", round=1)
        AllowList(site.keys("server")).revoke("d1")
        devices[0].finish()
        with pytest.raises(RefusedError, match="revoked"):
            devices[1].finish()
    assert len(server.finished().rounds) == 6


def broken_data(folder, site, fault):
    if fault == "missing":
        return folder / "nowhere"
    if fault == "malformed":
        shutil.copytree(site.data, folder)
        (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03garbage")
        return folder
    images = np.random.default_rng(0).random((40, 1, 12, 12)).astype(np.float32)
    labels = np.arange(40) % 10
    if fault == "label":
        labels[7] = 10
    else:
        images[7, 0, 3, 3] = np.nan
    np.savez(folder.with_suffix(".npz"), x_train=images, y_train=labels)
    return folder.with_suffix(".npz")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "nowhere"),
        ("malformed", "train-images-idx3-ubyte"),
        ("label", "10"),
        ("nan", "sample 7"),
    ],
)
def test_bad_data_stops_its_device_alone(site, tmp_path, fault, said):
    data = broken_data(tmp_path / "data", site, fault)
    with site.server(join_timeout_s=8, min_devices=1) as server:
        process = site.device_process("d1", server.address, "--data", str(data))
        _, line = outcome(process, DataError)
        site.device("d0", server.address).start().finish()
    assert said in line
    assert len(server.finished().rounds) == 2


def test_server_refuses_another_protocol_version_and_goes_on(site):
    with site.server(insecure=True, keys=None, devices=("d0",)) as server:
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(server.address)
        hello = Hello(1, resume=False, window_bytes=1 << 20, software="x", device="d0", bundle="")
        head = bytearray(encode_header(hello))
        dealer.send_multipart([encode_header(hello), b""])
        assert dealer.poll(WAIT_S * 1000)
        dealer.recv_multipart()
        head[2] = 9
        dealer.send_multipart([bytes(head), b""])
        while not isinstance(reply := decode_header(dealer.recv_multipart()[0]), Refusal):
            pass
        assert "version 9" in reply.reason
        dealer.close()
        context.term()
        device = site.device("d0", server.address, keys=None, insecure=True, name="d0")
        device.start().finish()
    assert len(server.finished().rounds) == 2


def test_device_tells_a_server_of_another_version(site):
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def answer():
        identity = router.recv_multipart()[0]
        router.send_multipart([identity, b"SF\x07whatever", b""])

    thread = threading.Thread(target=answer)
    thread.start()
    process = start_cli(
        *("device", "--server", f"tcp://127.0.0.1:{port}", "--data", str(site.data)),
        "--insecure",
    )
    _, line = outcome(process, ProtocolError)
    thread.join()
    router.close()
    context.term()
    assert "protocol version 7" in line
    assert "speaks 1" in line


def test_ctrl_c_on_the_server_tells_every_device(site):
    process = server_cli(site, "--rounds", "1000")
    for line in process.stderr:
        if " at tcp://" in line:
            address = line.split(" at ")[1].split(",")[0]
            break
    devices = [site.device(name, address).start() for name in site.names]
    for line in process.stderr:
        if "round 1/" in line:
            break
    process.send_signal(signal.SIGINT)
    code, line = outcome(process)
    assert (code, line) == (130, "slfac server: stopped")
    for device in devices:
        with pytest.raises(RefusedError, match="the server was stopped"):
            device.finish()


def test_ctrl_c_on_a_device_leaves_the_run_to_the_others(site):
    with site.server(rounds=8) as server:
        leaving = site.device_process("d1", server.address)
        staying = site.device("d0", server.address).start()
        server.await_event("round", round=0)
        leaving.send_signal(signal.SIGINT)
        code, line = outcome(leaving)
        staying.finish()
    assert (code, line) == (130, "slfac device: stopped")
    left = [event for event in server.of_kind("left") if event["device"] == "d1"]
    assert left[0]["reason"] == "left before the end"
    assert server.finished().rounds[-1].devices == 1


def test_divergence_is_said_on_both_ends(site, tmp_path):
    bundle = export_bundle(
        model="cnn",
        kwargs={},
        cut="pool1",
        input_shape=(1, 12, 12),
        out=tmp_path / "mse",
        num_classes=10,
        preprocessing=Preprocessing(),
        loss="mse",
    )
    site = Site(site.root, bundle.bundle.path, site.data, site.names)
    with site.server(optimizer="sgd:lr=900", codec_up="none", codec_down="none") as server:
        devices = [site.device(name, server.address).start() for name in site.names]
        for device in devices:
            with pytest.raises((RefusedError, TrainingError), match="learning rate"):
                device.finish()
    assert isinstance(server.error, TrainingError)


def test_data_of_another_shape_says_both(tmp_path, cnn_bundle):
    data = write_digits(tmp_path / "odd", train=40, test=20, size=9)
    site = Site.make(tmp_path, cnn_bundle, data, devices=1)
    _, line = outcome(server_cli(site), DataError)
    assert "9" in line
    assert "12" in line
