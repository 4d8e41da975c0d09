"""What must hold for a profile as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from slfac.hw_profiles.entries import planned_powers
from slfac.hw_profiles.schema import SCHEMA, Profile

Broken = tuple[str, str, str]


def profile_rules(profile: Profile) -> Iterator[Broken]:
    """Rules that a profile breaks.

    Args:
        profile: The profile.

    Yields:
        Field, what is wrong with it, and what to do about it.
    """
    if profile.schema != SCHEMA:
        yield (
            "schema",
            f"is {profile.schema}",
            f"this slfac reads {SCHEMA}; use the release that wrote the file",
        )
    yield from _twins(profile)
    yield from _scopes(profile)
    yield from _provenance(profile)


def _twins(profile: Profile) -> Iterator[Broken]:
    lists: dict[str, Iterable[Any]] = {
        "mode": profile.modes,
        "link": profile.links,
        "sensor": profile.sensors,
    }
    for mode in profile.modes:
        before = f"mode.{mode.name}"
        lists |= {f"{before}.compute": mode.compute, f"{before}.phase": mode.phases}
        lists |= {f"{before}.codec": mode.codecs, f"{before}.front": mode.fronts}
        lists |= {f"{before}.draw": mode.draws, f"{before}.memory": mode.memories}
    for name, tables in lists.items():
        for label, count in Counter(table.label for table in tables).items():
            if count > 1:
                yield name, f"has {count} entries for {label!r}", "keep one of them"


def _scopes(profile: Profile) -> Iterator[Broken]:
    """Powers that are added up and subtracted must be those of one thing."""
    scopes: dict[str, str] = {}
    for entry in planned_powers(profile):
        scopes.setdefault(entry.scope, entry.field)
    if len(scopes) > 1:
        said = ", ".join(f"{scope} ({field})" for scope, field in scopes.items())
        yield (
            "",
            f"mixes scopes: {said}",
            "keep powers of one scope; those of others can stand below mode.draw",
        )


def _provenance(profile: Profile) -> Iterator[Broken]:
    made = profile.provenance
    if not made.date:
        yield "provenance.date", "is empty", "say when the profile was made"
    if made.origin != "measured":
        return
    given = {"command": made.command, "runs": made.runs, "machine": made.machine}
    for name, value in {**given, "versions": made.versions}.items():
        if not value:
            yield f"provenance.{name}", "is missing", "a measured profile says how it was made"
