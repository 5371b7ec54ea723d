"""The compiler's operators, one file a family; importing this registers them all in Relax."""

from mcugrad.ops.add import add
from mcugrad.ops.box import concat, pad
from mcugrad.ops.conv2d import conv2d
from mcugrad.ops.dense import dense, dequantize
from mcugrad.ops.dense_s8 import dense_s8
from mcugrad.ops.loss import mse, softmax_cross_entropy
from mcugrad.ops.permute import permute
from mcugrad.ops.pool2d import avg_pool2d, max_pool2d
from mcugrad.ops.requantize import requantize

__all__ = [
    "add",
    "avg_pool2d",
    "concat",
    "conv2d",
    "dense",
    "dense_s8",
    "dequantize",
    "max_pool2d",
    "mse",
    "pad",
    "permute",
    "requantize",
    "softmax_cross_entropy",
]
