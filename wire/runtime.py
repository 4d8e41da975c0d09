"""onnxruntime sessions on a bundle's training graphs."""

from __future__ import annotations

import onnxruntime

from slfac.wire.bundle import Bundle
from slfac.wire.errors import BundleError
from slfac.wire.infer import session_options
from slfac.wire.manifest import Graph


def open_session(bundle: Bundle, graph: Graph, *, threads: int) -> onnxruntime.InferenceSession:
    """Open one of a bundle's graphs whose weights are inputs.

    Args:
        bundle: The bundle.
        graph: The graph, from its manifest.
        threads: Threads that one run may use.

    Returns:
        A session on the CPU provider.

    Raises:
        BundleError: The graph cannot be opened, or lacks an input or output.
    """
    path = bundle.file(graph.file)
    try:
        session = onnxruntime.InferenceSession(
            path, sess_options=session_options(threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise BundleError(f"{path} cannot be opened: {error}", "export the bundle again") from error
    found = {node.name for node in [*session.get_inputs(), *session.get_outputs()]}
    missing = sorted({*graph.inputs, *graph.outputs} - found)
    if missing:
        raise BundleError(f"{path} has no {missing[0]!r}, which the manifest names")
    return session
