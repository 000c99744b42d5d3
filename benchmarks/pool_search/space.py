"""The space of the study: how often each member takes part, and how much each target counts."""

from __future__ import annotations

from tune_spaces import loss_weights, pool_probabilities
from tune_spaces.fields import together

space, apply = together(loss_weights, pool_probabilities)
