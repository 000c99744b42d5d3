"""Probabilities, weights and optimisation together."""

from __future__ import annotations

from tune_spaces import loss_weights, optimisation, pool_probabilities
from tune_spaces.fields import together

space, apply = together(loss_weights, optimisation, pool_probabilities)
