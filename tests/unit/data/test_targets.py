import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.data import make_targets

pytestmark = pytest.mark.device

LABELS = st.integers(1, 300).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=20))
)


@given(LABELS)
def test_class_numbers_keep_their_value_in_the_smallest_type(case):
    outputs, labels = case
    target = make_targets("cross_entropy", np.array(labels, np.int64), outputs)
    assert target.tolist() == labels
    assert target.dtype == (np.uint8 if outputs <= 256 else np.int32)


@pytest.mark.parametrize("loss", ["mse", "bce_with_logits"])
@given(LABELS)
def test_other_losses_get_one_hot_rows(loss, case):
    outputs, labels = case
    target = make_targets(loss, np.array(labels, np.int64), outputs)
    assert target.shape == (len(labels), outputs)
    assert target.dtype == np.float32
    assert target.sum() == len(labels)
    assert target.argmax(1).tolist() == labels if labels else target.size == 0
