"""Gradient matching between real and synthetic images: distances, aligned features, one pool member's share of a step."""
