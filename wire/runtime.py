"""onnxruntime sessions on a bundle's graphs, with the options that shared cores need."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from slfac.wire.bundle import Bundle, check_front_state
from slfac.wire.errors import BundleError, SettingsError
from slfac.wire.manifest import Graph
from slfac.wire.onnx_scan import external_locations
from slfac.wire.providers import CPU, Provider

# Place of the weights that are injected at load; no file of a bundle, so onnxruntime fails
# on any that was not.
INJECTED_LOCATION = "injected-at-load"


def session_options(threads: int, *, low_memory: bool = False) -> onnxruntime.SessionOptions:
    """Options of a session that shares its machine with others.

    Args:
        threads: Threads that one run may use.
        low_memory: Whether memory goes back to the system as soon as it is free, at the
            cost of asking for it again in each run.

    Returns:
        Options whose waiting threads sleep instead of spinning, which costs a multiple
        of the time when cores are shared.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = not low_memory
    # Else a file's name or first bytes could choose a format that nothing here has checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def open_session(
    bundle: Bundle,
    graph: Graph,
    state: Mapping[str, np.ndarray],
    *,
    threads: int,
    low_memory: bool = False,
    provider: Provider = CPU,
) -> onnxruntime.InferenceSession:
    """Open one of a bundle's graphs whose trained weights are inputs.

    Args:
        bundle: The bundle.
        graph: The graph, from its manifest.
        state: Where its frozen tensors come from.
        threads: Threads that one run may use.
        low_memory: As :func:`session_options` takes it.
        provider: What computes it; the CPU does what that provider cannot.

    Returns:
        The session.

    Raises:
        BundleError: The graph cannot be opened, lacks an input, output or frozen tensor, or
            names values outside its file that are not to be injected.
        SettingsError: onnxruntime lacks the provider, or could not start it.
    """
    require_provider(provider)
    path = bundle.file(graph.file)
    _check_locations(path, allowed={INJECTED_LOCATION} if graph.frozen else set())
    unknown = [name for name in graph.frozen if name not in state]
    if unknown:
        raise BundleError(f"{path} takes {unknown[0]!r}, which the front does not have")
    options = session_options(threads, low_memory=low_memory)
    _inject(options, {name: state[name] for name in graph.frozen})
    # Last of all comes the CPU, once, for what the provider has no kernel for.
    entries = {one.name: one.entry for one in (provider, CPU)}
    try:
        session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=list(entries.values())
        )
    except Exception as error:
        raise BundleError(f"{path} cannot be opened: {error}", "export the bundle again") from error
    if provider.name not in session.get_providers():
        # onnxruntime goes on with the CPU alone and only logs that it does.
        raise SettingsError(
            f"onnxruntime could not start {provider.name}",
            "install the libraries that its error above names, or train with --provider cpu",
        )
    found = {node.name for node in [*session.get_inputs(), *session.get_outputs()]}
    missing = sorted({*graph.inputs, *graph.outputs} - found)
    if missing:
        raise BundleError(f"{path} has no {missing[0]!r}, which the manifest names")
    return session


def open_infer_session(
    bundle: Bundle, state: Mapping[str, np.ndarray], *, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Open ``infer.onnx`` with a front's weights.

    Args:
        bundle: The bundle.
        state: Parameters and buffers, as :meth:`Bundle.front_state` has them.
        threads: Threads that one run may use.

    Returns:
        A session from ``x`` ``(B, ...) float32`` to the smashed data.

    Raises:
        BundleError: The state does not fit the manifest, the graph cannot be opened, or it
            names values outside its file that are not to be injected.
    """
    manifest = bundle.manifest
    check_front_state(manifest, state)
    path = bundle.file(manifest.graphs.infer.file)
    _check_locations(path, allowed={INJECTED_LOCATION})
    options = session_options(threads)
    others = set(manifest.head.state) if manifest.head else set()
    own = {name: value for name, value in state.items() if name not in others}
    # onnxruntime takes no value that the graph does not have.
    _inject(options, {name: value for name, value in own.items() if value.dtype == np.float32})
    try:
        return onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise BundleError(f"{path} cannot be opened: {error}", "export the bundle again") from error


def require_provider(provider: Provider) -> None:
    """Make sure that onnxruntime knows a provider, and load the libraries that it needs.

    Args:
        provider: The provider.

    Raises:
        SettingsError: This build of onnxruntime lacks it.
    """
    found = onnxruntime.get_available_providers()
    if provider.name not in found:
        raise SettingsError(
            f"onnxruntime {onnxruntime.__version__} has no {provider.name}, only "
            f"{', '.join(found)}",
            "install its build for this board's GPU (docs/gpu.md), or train with --provider cpu",
        )
    if provider.memory == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        # It finds what `pip install onnxruntime-gpu[cuda,cudnn]` brought, and prints what not.
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()


def _inject(options: onnxruntime.SessionOptions, tensors: Mapping[str, np.ndarray]) -> None:
    # add_initializer would be ignored silently; only external ones are replaced.
    values = [
        onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(value, order="C"))
        for value in tensors.values()
    ]
    options.add_external_initializers(list(tensors), values)


def _check_locations(path: Path, allowed: set[str]) -> None:
    try:
        odd = external_locations(path.read_bytes()) - allowed
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be opened: {error}", "export the bundle again") from error
    if odd:
        raise BundleError(
            f"{path} takes values from {min(odd)!r}, outside its file", "export the bundle again"
        )
