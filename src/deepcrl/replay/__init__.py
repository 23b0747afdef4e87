"""Replay ring and hindsight goals: indices first, rows gathered when an update needs them."""
