"""Strictness for every test: the CPU, and shapes and types checked at each call of the three array rooms.

Warnings are errors (pyproject.toml). Implicit rank promotion raises in the rooms whose arrays have no free axes.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Must come before the first import of these packages.
install_import_hook(["deepcrl.nn", "deepcrl.contrastive", "deepcrl.replay"], "beartype.beartype")
