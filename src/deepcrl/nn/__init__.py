"""Deep residual networks: layers, stacks, encoders and policies, and what looks into them. No RL, no I/O."""
