"""The inventory of a testbed: one YAML file that names its hosts, links and what it trains."""

from slfac.testbed.inventory.ansible import ansible_inventory
from slfac.testbed.inventory.hosts import THIS_MACHINE, AnyHost, DeviceHost, ServerHost
from slfac.testbed.inventory.links import Cut, Emulation, Link
from slfac.testbed.inventory.matrix import Combination, combinations
from slfac.testbed.inventory.model import Inventory, load_inventory
from slfac.testbed.inventory.run import ModelChoice, Run
from slfac.testbed.inventory.template import write_template
from slfac.testbed.quantities import Rates

__all__ = [
    "THIS_MACHINE",
    "AnyHost",
    "Combination",
    "Cut",
    "DeviceHost",
    "Emulation",
    "Inventory",
    "Link",
    "ModelChoice",
    "Rates",
    "Run",
    "ServerHost",
    "ansible_inventory",
    "combinations",
    "load_inventory",
    "write_template",
]
