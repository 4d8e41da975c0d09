"""Whole runs in one process: many devices in torch, on a GPU where there is one.

::

    from pathlib import Path
    from slfac.testbed.simulate import simulate, simulation_settings

    data = Path("mnist")
    settings = simulation_settings(
        devices=5, data=data, bundle="bundle", out="runs/a", partition="iid"
    )
    result = simulate(settings, [data])

The server's code is the one that real devices meet, and theirs is that of a board, but for what
computes a step (torch) and what carries messages (memory). ``docs/simulate.md`` says what follows.
"""

from slfac.testbed.simulate.run import simulate, simulation_settings

__all__ = ["simulate", "simulation_settings"]
