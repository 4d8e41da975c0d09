"""What sending and receiving costs: blocks of traffic, held against what a power sensor saw."""

from slfac.device.profiling.radio.blocks import (
    BlockKind,
    BlockPlan,
    BlockRun,
    Reconnecting,
    run_blocks,
)
from slfac.device.profiling.radio.fit import LeftOut, RadioCost, Told, fit_radio

__all__ = [
    "BlockKind",
    "BlockPlan",
    "BlockRun",
    "LeftOut",
    "RadioCost",
    "Reconnecting",
    "Told",
    "fit_radio",
    "run_blocks",
]
