#!/usr/bin/python3
"""Computes something on the GPU and compares it with the CPU's: is this onnxruntime of use here?

A build may have the provider and no code for this GPU: that shows only when it runs. A convolution,
which is cuDNN's, and a product of matrices, which is cuBLAS's. The agent does the same with its own
front at each start, with `--provider auto`. Prints a line, and ends with 0 if the GPU is of use.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from pathlib import Path

PROVIDER = "CUDAExecutionProvider"
REFERENCE = "CPUExecutionProvider"
TOLERANCE = 1e-2
# y = r r, where r is what a ReLU leaves of a 3 x 3 convolution of x, float32 (1, 1, 8, 8).
MODEL = base64.b64decode(
    "CAg6uwEKIgoBeAoBdxIBYyIEQ29udioRCgRwYWRzQAFAAUABQAGgAQcKDAoBYxIBciIEUmVsdQoRCgFyCgFyEgF5IgZNYXRN"
    "dWwSBXRyaWFsKjMIAQgBCAMIAxABQgF3SiQAAAAAAAAAPgAAgD4AAMA+AAAAPwAAID8AAEA/AABgPwAAgD9aGwoBeBIWChQI"
    "ARIQCgIIAQoCCAEKAggICgIICGIbCgF5EhYKFAgBEhAKAggBCgIIAQoCCAgKAggIQgQKABAR"
)


def compare(provider: str) -> str:
    """Run the model on both; what is wrong, or empty."""
    import numpy as np  # noqa: PLC0415 - from the folder that was just added
    import onnxruntime as ort  # noqa: PLC0415 - likewise

    available = ort.get_available_providers()
    if provider not in available:
        return f"onnxruntime {ort.__version__} has no {provider}, only {', '.join(available)}"
    x = np.linspace(-1.0, 1.0, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    options = ort.SessionOptions()
    if provider != REFERENCE:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(MODEL, options, providers=[provider])
    if provider not in session.get_providers():
        return f"{provider} cannot be started: is CUDA's version the one it was built for?"
    reference = ort.InferenceSession(MODEL, providers=[REFERENCE])
    given, expected = (one.run(["y"], {"x": x})[0] for one in (session, reference))
    error = float(np.abs(given - expected).max() / np.abs(expected).max())
    return "" if error <= TOLERANCE else f"{provider} differs from the CPU by {error:.1e}"


def main() -> int:
    """Run it.

    Returns:
        0 if the provider computes what the CPU does.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lib", type=Path, help="folder with onnxruntime and numpy")
    parser.add_argument("--provider", default=PROVIDER)
    args = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would write an id down and send it
    sys.path.insert(0, str(args.lib))
    try:
        wrong = compare(args.provider)
    except Exception as error:  # noqa: BLE001 - whatever it is, the CPU remains
        wrong = f"{type(error).__name__}: {error}".splitlines()[0]
    sys.stdout.write(f"{wrong or f'{args.provider} computes what the CPU does'}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
