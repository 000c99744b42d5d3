"""Thin entry points for ``ray job submit`` from a checkout, and files for clusters; not
installed."""
