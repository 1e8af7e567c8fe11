"""Checks of components against their contracts, for the tests of packages that bring their own.

```python
from murmuration.testing import check_learner
from my_package.components import MyLearnerSettings

def test_contract() -> None:
    check_learner(MyLearnerSettings(width=8))
```

Each check constructs the component as a run does, calls it with small made-up data, and raises a `ContractError` with the first rule that
does not hold and the cure. A component that passes can still learn nothing: the checks compare shapes, types, random draws, checkpoints and
side effects.
"""

from __future__ import annotations

from murmuration.testing.averaging_rule_check import check_averaging_rule
from murmuration.testing.contract import ContractError
from murmuration.testing.conversation_check import check_conversation
from murmuration.testing.environment_check import check_environment
from murmuration.testing.environment_trial import EnvironmentTrial, try_environment
from murmuration.testing.goal_checks import check_goal_source, check_goal_space, check_negotiation
from murmuration.testing.learner_check import check_intrinsic_reward, check_learner
from murmuration.testing.world_model_check import check_world_model

__all__ = [
    "ContractError",
    "EnvironmentTrial",
    "check_averaging_rule",
    "check_conversation",
    "check_environment",
    "check_goal_source",
    "check_goal_space",
    "check_intrinsic_reward",
    "check_learner",
    "check_negotiation",
    "check_world_model",
    "try_environment",
]
