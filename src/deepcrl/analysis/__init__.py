"""Looking into trained agents: where the critic sees value, and what the policy does."""

from deepcrl.analysis.behaviour import Behaviour, choose, farthest_goal
from deepcrl.analysis.value_map import ValueMap, value_map

__all__ = ["Behaviour", "ValueMap", "choose", "farthest_goal", "value_map"]
