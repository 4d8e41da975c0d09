"""Does a server make itself known on this network, and is it this device's?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slfac.device.discovery import REMEDY, Wanted, browse
from slfac.device.doctor.finding import Finding
from slfac.device.doctor.server import check_server
from slfac.device.routes import choose
from slfac.wire.errors import KeyFileError, SlfacError
from slfac.wire.keys import device_keys

_LABEL: Final = "discovery"
_LISTEN_S: Final = 4.0


def check_discovery(folder: Path | None) -> Iterator[Finding]:
    """Look for servers on the network, and try the one that is this device's.

    Args:
        folder: The device's key folder; None only lists what is there.

    Yields:
        What was found, then what :func:`check_server` says of that server.
    """
    try:
        wanted = Wanted(device_keys(folder)) if folder is not None else None
    except KeyFileError as error:
        yield Finding("unknown", _LABEL, f"not tried: {error.what}", error.remedy)
        return
    try:
        offers = browse(_LISTEN_S, wanted or (lambda _: False))
    except SlfacError as error:
        yield Finding("failed", _LABEL, error.what, error.remedy)
        return
    listed = ", ".join(f"{offer.name} at {' or '.join(offer.addresses)}" for offer in offers)
    if not offers:
        yield Finding("failed", _LABEL, f"no server in {_LISTEN_S:g} s", REMEDY)
        return
    if wanted is None:
        yield Finding("ok", _LABEL, f"{listed}; give --keys DIR to tell which is this device's")
        return
    ours = {offer.run: offer for offer in offers if wanted(offer)}
    if len(ours) != 1:
        found = "none has" if not ours else f"{len(ours)} have"
        remedy = "copy server.key from the right server" if not ours else "give --server ADDRESS"
        yield Finding("failed", _LABEL, f"{found} the key in server.key: {listed}", remedy)
        return
    (offer,) = ours.values()
    yield Finding("ok", _LABEL, f"{offer.name} at {' or '.join(offer.addresses)}")
    yield from check_server(choose(offer.addresses) or offer.addresses[0], folder)
