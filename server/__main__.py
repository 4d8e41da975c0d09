"""``torchrun ... -m slfac.server``: a rank's server, with the options of ``slfac server``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback

from slfac.server.command import serve
from slfac.server.options import EPILOG, add_options
from slfac.server.says import name_of
from slfac.wire.ending import explain, terminate


def main() -> int:
    """Run a server, or a rank's where torchrun started this process.

    Returns:
        The exit code.
    """
    # Set before NumPy is imported: the codec's products are too small for several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(
        prog="python -m slfac.server",
        description="Train the back half for devices; under torchrun, those of one rank.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add_options(parser)
    parser.add_argument("--debug", action="store_true", help="log everything, show tracebacks")
    values = vars(parser.parse_args())
    debug = values.pop("debug", False)
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    signal.signal(signal.SIGTERM, terminate)
    try:
        serve(values)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - one place turns any of them into a line
        if debug:
            traceback.print_exc()
        rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else None
        return explain(name_of(rank), error, extra="server")
    return 0


if __name__ == "__main__":
    sys.exit(main())
