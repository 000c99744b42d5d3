"""How good condensed images are: fresh students trained on them, beside real images of the same
number."""
