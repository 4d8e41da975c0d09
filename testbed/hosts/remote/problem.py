"""What a host says where it cannot do as it was told."""

from __future__ import annotations


class HostProblem(Exception):  # noqa: N818 - it is told to people as a problem of a host
    """Something that keeps a host from doing what it was told.

    Args:
        what: What is wrong.
        remedy: What to do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
