"""Split learning that trains on small boards.

The folders of this package, each with a face of its own:

* :mod:`slfac.codec`: what turns tensors into few bytes and back.
* :mod:`slfac.wire`: messages, chunks, keys and secure sockets.
* :mod:`slfac.data`: data sets on disk, partitions and batches.
* :mod:`slfac.hw_profiles`: what is known about each board, and where it comes from.
* :mod:`slfac.device`: the torch-free agent that trains a front on a board.
* :mod:`slfac.server`: the PyTorch side that trains the back.
* :mod:`slfac.export`: cuts a torch model and writes the front's training graphs.
* :mod:`slfac.testbed`: whole runs on one machine or many, with their reports.
* :mod:`slfac.cli`: the command ``slfac``.

Importing :mod:`slfac` itself imports none of them.
"""

import os

# From 1.31 on, ONNX Runtime writes down an id of the machine and sends to its maker when sessions
# are made and of what, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
