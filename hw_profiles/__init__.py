"""What is known about each board: one TOML file a board, and what reads and writes such files."""

from slfac.hw_profiles.check import Fault, profile_faults
from slfac.hw_profiles.entries import Entry, profile_entries
from slfac.hw_profiles.load import check_profile, load_profile, load_reference, profile_names
from slfac.hw_profiles.schema import Power, Profile, Value
from slfac.hw_profiles.units import unit_of
from slfac.hw_profiles.write import write_profile

__all__ = [
    "Entry",
    "Fault",
    "Power",
    "Profile",
    "Value",
    "check_profile",
    "load_profile",
    "load_reference",
    "profile_entries",
    "profile_faults",
    "profile_names",
    "unit_of",
    "write_profile",
]
