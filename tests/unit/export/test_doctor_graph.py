"""The doctor's graph, kept as bytes because a device has no onnx, is one as a bundle holds."""

import onnx

from slfac.device.doctor.trial import GRAPH
from slfac.export.onnx_clean import IR_VERSION
from slfac.export.to_onnx import OPSET


def test_the_graph_is_one_as_a_bundle_holds():
    model = onnx.load_from_string(GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"]
    assert model.ir_version == IR_VERSION
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
