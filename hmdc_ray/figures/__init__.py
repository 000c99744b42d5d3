"""Figures: each a function from results to a matplotlib figure, which
:func:`hmdc_ray.figures.canvas.save` writes.

Figures are made without pyplot, so that they touch no global state and need no screen.
"""
