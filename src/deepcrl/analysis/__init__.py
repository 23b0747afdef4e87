"""Analyses of trained agents: the critic's values, the networks' blocks, and the policy's behaviour."""

from deepcrl.analysis.behaviour import Behaviour, all_behaviours, by_goal, choose, farthest_goal
from deepcrl.analysis.blocks import BlockNorms, block_norms
from deepcrl.analysis.value_map import ValueMap, value_map

__all__ = [
    "Behaviour",
    "BlockNorms",
    "ValueMap",
    "all_behaviours",
    "block_norms",
    "by_goal",
    "choose",
    "farthest_goal",
    "value_map",
]
