"""Looks at what a device or a server needs, and says what is wrong and what to do about it.

Nothing here needs a package until that package has been tried in a process of its own.
"""

from slfac.device.doctor.examine import examine
from slfac.device.doctor.finding import Finding

__all__ = ["Finding", "examine"]
