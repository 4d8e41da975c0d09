"""Whole runs in one process: many devices in torch, on a GPU where there is one.

::

    from pathlib import Path
    from slfac.testbed.simulate import simulate, simulation

    run = simulation(bundle="bundle", data=Path("mnist"), out="runs/a", devices=5, rounds=3)
    result = simulate(run)

The server's code is the one that real devices meet, and theirs is that of a board, but for what
computes a step (torch) and what carries messages (memory). ``docs/simulate.md`` says what follows.
"""

from slfac.testbed.simulate.run import Simulation, simulate, simulation

__all__ = ["Simulation", "simulate", "simulation"]
