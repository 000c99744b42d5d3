"""Gradient matching of real and synthetic images: distances, aligned features, one pool member's
share of a step."""
