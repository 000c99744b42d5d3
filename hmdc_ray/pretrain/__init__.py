"""Pre-training: networks trained on the real training split with Ray Train, for the pool to start from and as upper bound."""

from hmdc_ray.pretrain.report import Pretrained
from hmdc_ray.pretrain.run import pretrain

__all__ = ["Pretrained", "pretrain"]
