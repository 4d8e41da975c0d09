"""The one place that calls torch's ONNX exporter, with its chatter kept from users."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from slfac.export.decompositions import own_forwards
from slfac.wire.errors import ExportError

OPSET = 18
# What onnxruntime 1.20, the oldest that devices may have, can read.
IR_VERSION = 10
# The batch axis in ``dynamic_shapes``: the only axis that is not fixed.
BATCH = torch.export.Dim("batch", min=1, max=1 << 20)


def to_onnx(
    module: nn.Module,
    arguments: Sequence[Tensor],
    dynamic_shapes: tuple[Any, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    tidy: bool,
) -> onnx.ModelProto:
    """Translate a module to ONNX.

    Args:
        module: What to translate.
        arguments: Example inputs.
        dynamic_shapes: As :func:`torch.export.export` takes them.
        inputs: A name for each argument.
        outputs: A name for each output.
        tidy: Whether to fold constants and merge equal ones. Not for a module that holds
            weights: fresh ones are often equal, and would be merged.

    Returns:
        The graph, with everything in memory.

    Raises:
        ExportError: torch's exporter gave nothing.
        Exception: An operator has no translation, or the batch cannot vary; see
            :func:`slfac.export.culprit.named_culprit`.
    """
    with quiet_torch():
        program = torch.export.export(
            module, tuple(arguments), dynamic_shapes=dynamic_shapes, strict=False
        )
        own = own_forwards(program.graph)
        if own:
            program = program.run_decompositions(own)
        result = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            # torch's own optimiser doubles the time and transposes weights.
            optimize=False,
            verbose=False,
        )
        if result is None:
            raise ExportError("torch's ONNX exporter gave no graph")
        if tidy:
            _tidy(result.model)
        return result.model_proto


def _tidy(model: onnx_ir.Model) -> None:
    """Fold shapes and constants, and drop what is unused or computed twice."""
    passes.InlinePass()(model)
    fold_constants(model)
    onnx_ir.passes.Sequential(
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    )(model)


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence warnings and log lines about torch's own internals while it exports."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch calls functions that it has itself deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            # It traces a copy, and a copied LSTM lists its weights anew when it is called.
            warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
