"""V-trace: returns of one policy from what another has done (Espeholt et al., arXiv 1802.01561).

    rho_t = min(clip, pi(a_t|s_t) / mu(a_t|s_t))
    delta_t = rho_t (r_t + gamma_t V(s_{t+1}) - V(s_t))
    A_t = delta_t + gamma_t rho_t A_{t+1}
    targets v_t = V(s_t) + A_t,   advantages = rho_t (r_t + gamma_t v_{t+1} - V(s_t))

with rho also in the place of the traces' weights c (both are clipped at the same value). A_{t+1} is passed on to t only where step t + 1
follows step t in one episode and counts; elsewhere v_{t+1} is V(s_{t+1}) alone, as it is after the last step. Where pi = mu, v_t are the
discounted sums of the rewards to the end of the rollout, and V of what followed it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class VTraceReturns(NamedTuple):
    """Result of `vtrace`: targets and advantages, `[T, B]` each."""

    target: torch.Tensor
    advantage: torch.Tensor


@torch.no_grad()
def vtrace(
    log_ratio: torch.Tensor,
    reward: torch.Tensor,
    discount: torch.Tensor,
    value: torch.Tensor,
    counts: torch.Tensor,
    begins: torch.Tensor,
    clip: float = 1.0,
) -> VTraceReturns:
    """From ln(pi / mu), rewards and gamma_t (0 where step t has terminated), `[T, B]`, and `value[T + 1, B]`. `counts[T, B]`: 0 for steps
    that are no steps of the agent's; their advantage is 0, and their target V. `begins[T, B]`: 1 where an episode begins."""
    rho = log_ratio.exp().clamp_max(clip)
    delta = counts * rho * (reward + discount * value[1:] - value[:-1])
    follows = counts[1:] * (1 - begins[1:])
    trace = torch.zeros_like(value)
    weight = discount[:-1] * rho[:-1] * counts[:-1] * follows
    trace[len(delta) - 1] = delta[-1]
    for t in range(len(delta) - 2, -1, -1):
        torch.addcmul(delta[t], weight[t], trace[t + 1], out=trace[t])
    following = value[1:].clone()
    following[:-1] += follows * trace[1:-1]
    return VTraceReturns(value[:-1] + trace[:-1], counts * rho * (reward + discount * following - value[:-1]))
