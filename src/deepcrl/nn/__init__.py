"""Deep residual networks: layers, stacks, encoders and the policy. No RL, no I/O."""
