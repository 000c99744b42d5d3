"""Networks: the registry with its families, taps, and one interface to all of them.

Importing the package registers the families.
"""

from hmdc_ray.models import alexnet, convnet, lenet, mlp, resnet, vgg, vit
from hmdc_ray.models.batchnorm import freeze_batchnorm, has_batchnorm
from hmdc_ray.models.network import Architecture, Network, Observation
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.registry import Entry, build, register, registered
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.taps import Tap, TapKind, TapSpec
from hmdc_ray.models.weights import load_weights, save_weights

__all__ = [
    "Architecture",
    "Entry",
    "ImageShape",
    "Network",
    "Normalisation",
    "Observation",
    "Tap",
    "TapKind",
    "TapSpec",
    "alexnet",
    "build",
    "convnet",
    "freeze_batchnorm",
    "has_batchnorm",
    "lenet",
    "load_weights",
    "mlp",
    "register",
    "registered",
    "resnet",
    "save_weights",
    "vgg",
    "vit",
]
