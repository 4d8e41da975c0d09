"""The bill of materials of an image: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from slfac import __version__

_WHEEL = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)


def bill_of_materials(
    *, name: str, packages: str, lock: str, suite: str, time_s: int, sha256: str
) -> bytes:
    """List what an image is made of.

    Args:
        name: Of the image.
        packages: What dpkg tells of the base: name, version, architecture, source and its version
            between tabs, a package a line.
        lock: The lock of the layer's wheels.
        suite: The release of Debian.
        time_s: When it was made, in seconds since 1970.
        sha256: Of the image.

    Returns:
        A JSON document.
    """
    debs = [_deb(line.split("\t"), suite) for line in packages.splitlines() if line.strip()]
    wheels = [_wheel(*found) for found in sorted(_WHEEL.findall(lock))]
    made = datetime.fromtimestamp(time_s, tz=timezone.utc)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": made.isoformat(),
            "component": {
                "type": "operating-system",
                "name": name,
                "version": __version__,
                "hashes": [{"alg": "SHA-256", "content": sha256}],
            },
        },
        "components": [*debs, _wheel("slfac", __version__), *wheels],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _deb(columns: list[str], suite: str) -> dict[str, Any]:
    name, version, architecture, source, source_version = columns
    query = f"arch={architecture}&distro={suite}"
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?{query}",
        "properties": [{"name": "debian:source", "value": f"{source} {source_version}"}],
    }


def _wheel(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version, safe='')}"
    return {"type": "library", "name": name, "version": version, "purl": purl}
