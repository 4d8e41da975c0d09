"""Codecs: tensors to few bytes and back.

::

    import numpy as np
    from slfac.codec import decode, make_codec

    codec = make_codec("slfac:theta=0.9,bmin=2,bmax=8")   # one a stream
    payload = codec.encode(np.ones((2, 3, 8, 8), np.float32))
    z = decode(payload, max_values=2 * 3 * 8 * 8)
"""

from slfac.codec.base import Buffer, Codec, StreamKey
from slfac.codec.registry import codec_names, decode, make_codec
from slfac.wire.errors import CodecError

__all__ = ["Buffer", "Codec", "CodecError", "StreamKey", "codec_names", "decode", "make_codec"]
