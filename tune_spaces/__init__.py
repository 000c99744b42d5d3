"""Search spaces for ``hmdc tune``, one a file.

A space is a module with two functions:

- ``space(base)`` gives Ray Tune domains (``tune.uniform``, ``tune.choice``, ...) by the dotted
  paths of the fields that it moves, such as ``images.learning_rate`` or
  ``pool.members.vit.loss_weight``; a space that does not depend on the base configuration may leave
  the argument out. The same domains serve random search and Optuna.
- ``apply(base, sample)`` gives the configuration of a draw: every draw must give a valid one.

``hmdc tune PRESET --space NAME`` takes a module of this package by its name, and a module of one's
own by its import path, such as ``my_package.my_space``.
"""
