"""Deep contrastive reinforcement learning."""
