"""Replay buffer and hindsight goals: indices are drawn first, rows gathered when an update needs them."""
