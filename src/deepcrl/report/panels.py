"""Which curves a report draws, in which order, and what each of them means."""

from typing import Literal, NamedTuple

Unit = Literal["", "steps", "share", "m"]


class Panel(NamedTuple):
    """One chart: a few series in the same unit, and one sentence on how to read them."""

    title: str
    about: str
    series: tuple[tuple[str, str], ...]
    """Column of metrics.jsonl, and its label beside the curve."""
    unit: Unit = ""
    higher_is_better: bool = True


BEHAVIOUR = (
    Panel(
        "Time at goal",
        "Env steps of an episode spent within the success radius, mean over episodes: the paper's score.",
        (("eval/time_at_goal", ""),),
        "steps",
    ),
    Panel(
        "Episodes that reach the goal",
        "Share of episodes that come within the success radius at least once.",
        (("eval/success_any", ""),),
        "share",
    ),
    Panel(
        "Final distance",
        "Metres to the goal at the end of an episode, mean over episodes. Lower is better.",
        (("eval/final_distance", ""),),
        "m",
        higher_is_better=False,
    ),
)

TRAINING = (
    Panel(
        "Critic loss",
        "What the critic is trained on, penalties included, on batches from the replay.",
        (("train/critic_loss", ""),),
    ),
    Panel(
        "Actor loss",
        "With a critic: temperature times log-probability minus the value of its actions.",
        (("train/actor_loss", ""),),
    ),
    Panel(
        "Accuracy",
        "Share of state-action pairs whose own future scores highest in the batch. "
        "Near futures look alike, so 100% is out of reach.",
        (("train/accuracy", ""),),
        "share",
    ),
    Panel(
        "Energies",
        "Mean critic value of a pair with its own future, and with the futures of others. The gap is what is learnt.",
        (("train/positive_energy", "own"), ("train/negative_energy", "others")),
    ),
    Panel(
        "Policy entropy",
        "Nats per action, estimated from samples; the temperature steers it to its target.",
        (("train/entropy", ""),),
    ),
    Panel(
        "Temperature",
        "Weight of the entropy in the actor's loss; it is learnt.",
        (("train/temperature", ""),),
    ),
    Panel(
        "Temperature loss",
        "Temperature times the entropy in excess of its target.",
        (("train/temperature_loss", ""),),
    ),
    Panel(
        "Gradient norms",
        "L2 norm of the gradient of each network: the actor, and the critic, or its two encoders, φ(s, a) and ψ(g).",
        (
            ("train/actor_grad_norm", "actor"),
            ("train/critic_grad_norm", "critic"),
            ("train/phi_grad_norm", "φ"),
            ("train/psi_grad_norm", "ψ"),
        ),
    ),
    Panel(
        "Value",
        "Mean of the critics' values, discounted steps at the goal, and how far the two are apart; last batch.",
        (("train/value", "mean"), ("train/value_gap", "gap")),
    ),
    Panel(
        "Rewarded steps",
        "Share of a batch's steps whose outcome is at their goal, relabelled goals included.",
        (("train/reward", ""),),
        "share",
    ),
    Panel(
        "Action error",
        "Root mean square of the policy's mean action minus the stored one, per action entry.",
        (("train/action_error", ""),),
    ),
    Panel(
        "Log-partition",
        "Mean logsumexp of a row of logits; the penalty holds it near 0.",
        (("train/logsumexp", ""),),
    ),
    Panel(
        "Alignment",
        "Mean squared distance of positive pairs on the unit sphere; 0 is perfect.",
        (("train/alignment", ""),),
    ),
    Panel(
        "Uniformity",
        "How evenly goal embeddings spread over the unit sphere; lower is more even, 0 means that all coincide.",
        (("train/uniformity", ""),),
    ),
)

PHASES = {
    "collect": "stepping the environments with the policy, and filling the replay",
    "update": "gradient steps",
    "eval": "evaluations",
    "save": "writing checkpoints",
    "compile": "first call of the update, compilation included",
    "other": "building, other compilation, and what is not timed",
}


def training_panels(columns: list[str]) -> list[Panel]:
    """The panels for which a run has columns, and a plain one for every further training metric that it wrote."""
    known = [panel for panel in TRAINING if any(key in columns for key, _ in panel.series)]
    drawn = {key for panel in TRAINING for key, _ in panel.series}
    others = [key for key in columns if key.startswith("train/") and key not in drawn]
    return known + [Panel(key.removeprefix("train/").replace("_", " "), "", ((key, ""),)) for key in others]
