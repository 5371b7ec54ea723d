"""Builders of the architectures that mcugrad is tested with: float ONNX graphs with fresh weights; see README.md."""

from models.architectures.autoencoder import autoencoder
from models.architectures.ds_cnn import ds_cnn
from models.architectures.mcunet import mcunet
from models.architectures.mobilenetv1 import mobilenetv1
from models.architectures.mobilenetv2 import mobilenetv2
from models.architectures.proxylessnas import proxylessnas

__all__ = ["autoencoder", "ds_cnn", "mcunet", "mobilenetv1", "mobilenetv2", "proxylessnas"]
