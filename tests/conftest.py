"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# A shell starts background jobs with Ctrl-C ignored, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no defect: pytest-timeout bounds what a test may take. CI tries the same
# examples each time, so that what it finds is the change's; everyone else tries new ones.
settings.register_profile("slfac", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("slfac")

if TYPE_CHECKING:
    from slfac.wire.bundle import Bundle


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m device``, do not even import files that need torch."""
    if config.option.markexpr != "device" or collection_path.suffix != ".py":
        return None
    return "pytest.mark.device" not in collection_path.read_text(encoding="utf-8") or None


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IDX folder: 10 classes of 12x12 images, 240 train, 60 test."""
    from harness.site import write_digits

    return write_digits(tmp_path_factory.mktemp("digits"), train=240, test=60, size=12)


@pytest.fixture(scope="session")
def cnn_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 2-conv CNN for 1x12x12, cut behind its first pool."""
    from slfac.export import export_bundle
    from slfac.wire.manifest import Preprocessing

    folder = tmp_path_factory.mktemp("bundle") / "cnn"
    export_bundle(
        model="cnn",
        kwargs={},
        cut="pool1",
        input_shape=(1, 12, 12),
        out=folder,
        num_classes=10,
        seed=0,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
    )
    return folder


@pytest.fixture(scope="session")
def bn_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small CNN with BatchNorm for 1x8x8 and ten classes, cut behind its first pool."""
    from slfac.export import export_bundle
    from slfac.wire.manifest import Preprocessing

    return export_bundle(
        model="cnn",
        kwargs={"channels": [4, 8], "hidden": 8, "batch_norm": True},
        cut="pool1",
        input_shape=(1, 8, 8),
        out=tmp_path_factory.mktemp("bn") / "bundle",
        num_classes=10,
        seed=3,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.3,), std=(0.2,)),
    ).bundle


@pytest.fixture
def site(tmp_path: Path, cnn_bundle: Path, digits: Path):
    """Two enrolled devices with data and a bundle."""
    from harness.site import Site

    return Site.make(tmp_path, cnn_bundle, digits, devices=2)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """End what a failed test left running, so that it harms no other."""
    yield
    site = sys.modules.get("harness.site")
    for process in site.STARTED if site is not None else ():
        if process.poll() is None:
            process.kill()
        process.communicate()
    if site is not None:
        site.STARTED.clear()
