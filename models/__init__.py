"""Registers the network architectures. To add an architecture, add a module and register it here."""

from models.convnet import CONVNET
from models.efficientnet_lite import EFFICIENTNET_LITE0
from models.layers import LAYERS
from models.mlp import MLP
from models.registry import register
from models.tabular import TABULAR
from models.torchvision import TORCHVISION

register(CONVNET)
register(MLP)
register(LAYERS)
register(TABULAR)
register(EFFICIENTNET_LITE0)
register(*TORCHVISION)
