r"""The one exception tree, with the exit code of each branch.

::

    SlfacError                  1
    +-- SettingsError           2   a setting or an argument is wrong
    +-- MissingExtraError       3   a package that this command needs is not installed
    +-- DataError              10   a data folder is missing, malformed or out of range
    +-- BundleError            20   a bundle is missing, corrupt or of another version
    +-- ExportError            21   a model could not be exported or failed its own proof
    +-- LinkError              30   the other end cannot be reached, or was lost
    |   +-- AddressError       31   an address is malformed, taken or not ours
    |   +-- KeyFileError       32   a key file is missing, readable by others or malformed
    |   +-- AuthError          33   the other end refused our key, or has another one
    |   +-- ProtocolError      34   the other end speaks another version, or nonsense
    |   +-- RefusedError       35   the server refused this device, and said why
    +-- CodecError             40   a payload cannot be encoded or decoded
    +-- TrainingError          50   training cannot go on (divergence, no devices left)
    +-- RunError               60   a process of a local run, or another rank, failed
    |   +-- HostError          61   a testbed's host cannot do what it was told
    +-- SensorError            70   a power sensor cannot be read, or gives nonsense
    +-- ImageError             80   a disk image is damaged, or none of ours
        +-- DriveError         81   a drive is refused, went away, or holds what was not written
        +-- UpdateError        82   an update is refused, or was taken back

Codes are stable: a retired one stays reserved. ``docs/exit-codes.md`` lists them for
users, and a test holds the two together. Ctrl-C exits with 130.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_INTERRUPTED = 130


class SlfacError(Exception):
    """Root of every error that slfac raises on purpose.

    Args:
        what: What is wrong, naming the field, file or peer, and its value.
        remedy: What to do about it; empty where nothing can be done.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: what is wrong; what to do."""
        text = f"{self.what}; {self.remedy}" if self.remedy else self.what
        return " ".join(text.split())


class SettingsError(SlfacError):
    """A setting or an argument has a value that cannot be used."""

    exit_code = 2


class MissingExtraError(SlfacError):
    """A command needs a package that an extra of slfac would have installed."""

    exit_code = 3


class DataError(SlfacError):
    """A data set is missing, malformed, or holds values the model cannot take."""

    exit_code = 10


class BundleError(SlfacError):
    """A bundle is missing a file, does not match its hashes, or is of another version."""

    exit_code = 20


class ExportError(SlfacError):
    """A model cannot be exported, or its graphs do not do what torch does.

    Attributes:
        argument: The argument of the export that it is about; empty where it is about none alone.
    """

    exit_code = 21
    argument: str = ""


class LinkError(SlfacError):
    """The other end cannot be reached, or was lost and did not come back."""

    exit_code = 30


class AddressError(LinkError):
    """An address is malformed, already taken, or not one of this machine's."""

    exit_code = 31


class KeyFileError(LinkError):
    """A key file is missing, malformed, or can be read by others."""

    exit_code = 32


class AuthError(LinkError):
    """The handshake failed: a key is not enrolled, or the server has another key."""

    exit_code = 33


class ProtocolError(LinkError):
    """The other end speaks another protocol version, or sent what none allows.

    Args:
        what: What is wrong.
        remedy: What to do about it.
        cause: One word for the rule it broke, by which a server counts it; empty where the
            kind of message says as much.
    """

    exit_code = 34

    def __init__(self, what: str, remedy: str = "", *, cause: str = "") -> None:
        super().__init__(what, remedy)
        self.cause = cause


class RefusedError(LinkError):
    """The server refused this device's request, and said why."""

    exit_code = 35


class CodecError(SlfacError):
    """A tensor cannot be encoded, or a payload cannot be decoded."""

    exit_code = 40


class TrainingError(SlfacError):
    """Training cannot go on: it diverged, or no devices are left."""

    exit_code = 50


class RunError(SlfacError):
    """A process of a local run, or another rank of a server, failed or did not start."""

    exit_code = 60


class HostError(RunError):
    """A host of a testbed cannot be used as it is, or failed to do what it was told."""

    exit_code = 61


class SensorError(SlfacError):
    """A power sensor cannot be read, or gives what no board can draw."""

    exit_code = 70


class ImageError(SlfacError):
    """A disk image is damaged, cannot be read, or is none of ours."""

    exit_code = 80


class DriveError(ImageError):
    """A drive must not be written, went away meanwhile, or holds what was not written."""

    exit_code = 81


class UpdateError(ImageError):
    """An update cannot be used, or did not work and was taken back."""

    exit_code = 82
