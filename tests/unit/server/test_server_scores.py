"""Scores by class against a count one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.server.scores import MAX_CONFUSION_CLASSES, class_scores

CLASSES = 5


@given(st.lists(st.tuples(*[st.integers(0, CLASSES - 1)] * 2), min_size=1, max_size=60))
def test_they_are_what_counting_gives(pairs):
    labels, predicted = np.array(pairs).T
    scores = class_scores(labels, predicted, CLASSES)
    confusion = [[pairs.count((i, j)) for j in range(CLASSES)] for i in range(CLASSES)]
    assert scores.confusion == tuple(map(tuple, confusion))
    recall = [row[i] / sum(row) if sum(row) else None for i, row in enumerate(confusion)]
    assert scores.recall == pytest.approx(recall)
    present = [value for value in recall if value is not None]
    assert scores.balanced_accuracy == pytest.approx(sum(present) / len(present))


def test_a_large_class_does_not_hide_a_small_one():
    labels = np.array([0] * 98 + [1] * 2)
    scores = class_scores(labels, np.zeros(100, int), 2)
    assert scores.balanced_accuracy == 0.5
    assert scores.recall == (1.0, 0.0)


def test_very_many_classes_have_no_matrix():
    labels = np.array([3, 10**6])
    scores = class_scores(labels, labels, 10**6 + 1)
    assert scores.confusion is None
    assert scores.balanced_accuracy == 1.0
    assert (scores.recall[3], scores.recall[4]) == (1.0, None)
    assert class_scores(labels[:1], labels[:1], MAX_CONFUSION_CLASSES).confusion is not None
