"""The models that come with slfac, as factories that take JSON values.

Every factory takes ``num_classes`` and ``input_shape``, bounds its arguments, and returns a
model that torch.fx can trace, for any batch size. ``docs/models.md`` lists them.
"""

from slfac.export.models.convnext_stages import convnext
from slfac.export.models.dense import densenet
from slfac.export.models.efficientnet import efficientnet_lite0
from slfac.export.models.mobilenet2 import mobilenet_v2
from slfac.export.models.mobilenet3 import mobilenet_v3_small
from slfac.export.models.residual import resnet18
from slfac.export.models.series import cnn1d
from slfac.export.models.small_cnn import cnn
from slfac.export.models.vgg import vgg11
from slfac.export.models.vision_transformer import vit

__all__ = [
    "cnn",
    "cnn1d",
    "convnext",
    "densenet",
    "efficientnet_lite0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "vgg11",
    "vit",
]
