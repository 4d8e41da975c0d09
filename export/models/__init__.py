"""The models that come with slfac, as factories that take JSON values.

Every factory takes ``num_classes`` and ``input_shape``, and returns an ``nn.Sequential``
of named children, so that a cut can be taken after any of them.
"""

from slfac.export.models.residual import resnet18
from slfac.export.models.small_cnn import cnn

__all__ = ["cnn", "resnet18"]
