import numpy as np
import pytest

from harness.offline import manifest_with
from slfac.server.losses import check_target
from slfac.wire.errors import ProtocolError

CLASSES = 4


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
def test_labels_of_any_integer_type_become_int64(dtype):
    target = check_target(manifest_with(), np.array([0, 3, 1], dtype), 3)
    assert target.dtype == np.int64
    assert target.tolist() == [0, 3, 1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (np.zeros(2, np.uint8), r"\(2,\) uint8, \(3,\) integers"),
        (np.zeros((3, 1), np.uint8), "integers were expected"),
        (np.zeros(3, np.float32), "float32"),
        (np.zeros(3, np.bool_), "bool"),
        (np.array(0, np.int64), "integers were expected"),
        (np.array([0, 1, CLASSES], np.uint8), r"outside 0\.\.3.*export the model with more"),
        (np.array([0, -1, 1], np.int8), r"outside 0\.\.3"),
    ],
)
def test_wrong_labels_are_refused(target, words):
    with pytest.raises(ProtocolError, match=words):
        check_target(manifest_with(), target, 3)


@pytest.mark.parametrize("loss", ["bce_with_logits", "mse"])
@pytest.mark.parametrize(
    "target",
    [
        np.zeros((2, CLASSES), np.float32),
        np.zeros((3, CLASSES + 1), np.float32),
        np.zeros(3, np.uint8),
        np.full((3, CLASSES), np.nan, np.float32),
        np.full((3, CLASSES), np.inf, np.float32),
    ],
)
def test_wrong_vectors_are_refused(loss, target):
    with pytest.raises(ProtocolError, match=r"finite \(3, 4\) were expected"):
        check_target(manifest_with(loss=loss), target, 3)


def test_only_probabilities_suit_bce():
    target = np.full((3, CLASSES), 1.5, np.float32)
    with pytest.raises(ProtocolError, match=r"outside 0\.\.1"):
        check_target(manifest_with(loss="bce_with_logits"), target, 3)
    assert check_target(manifest_with(loss="mse"), target, 3).dtype == np.float32
