"""Pre-training: networks trained on the real training split with Ray Train, as start of pool
members and as upper bound."""

from hmdc_ray.pretrain.report import Pretrained
from hmdc_ray.pretrain.run import pretrain

__all__ = ["Pretrained", "pretrain"]
