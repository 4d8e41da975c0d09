"""Data sets on disk, their partitions over devices, and the batches a device trains on.

A device opens its training data here and the server its evaluation data, so that both
read, check and scale them alike. Needs NumPy and msgspec; image folders also need Pillow
(extra ``images``), which is imported only when one is opened.
"""

from slfac.data.batches import BatchStream
from slfac.data.dataset import Dataset, Split, open_dataset
from slfac.data.idx import read_idx, write_idx
from slfac.data.idx_folder import read_idx_split, write_idx_split
from slfac.data.partition import Scheme, partition
from slfac.data.preprocess import apply
from slfac.data.targets import has_classes, make_targets

__all__ = [
    "BatchStream",
    "Dataset",
    "Scheme",
    "Split",
    "apply",
    "has_classes",
    "make_targets",
    "open_dataset",
    "partition",
    "read_idx",
    "read_idx_split",
    "write_idx",
    "write_idx_split",
]
