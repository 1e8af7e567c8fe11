"""Which messages of a link are lost.

Bernoulli with correlation c: with probability c a message has the outcome of the one before it, else it is lost with probability p. So
each is lost with probability p, and the outcomes of messages k apart have the correlation c^k.

Gilbert-Elliott: before each message the link changes from good to bad with probability p_gb, from bad to good with p_bg, and loses the
message with the probability of its state; it begins bad with probability p_gb / (p_gb + p_bg), its share of bad messages.
"""

from __future__ import annotations

from protocols.faults.settings import Loss


class Bernoulli:
    """Independent or repeated losses."""

    __slots__ = ("_corr", "_last", "_p")

    def __init__(self, settings: Loss) -> None:
        self._p = settings.p or 0.0
        self._corr = settings.corr
        self._last: bool | None = None

    def lost(self, link_outcome: float, change: float) -> bool:
        """Whether the next message is lost, from two uniform draws."""
        if not self._corr:
            return link_outcome < self._p
        if self._last is None or change >= self._corr:
            self._last = link_outcome < self._p
        return self._last


class GilbertElliott:
    """A link with a good and a bad state."""

    __slots__ = ("_bad", "_loss_bad", "_loss_good", "_to_bad", "_to_good")

    def __init__(self, settings: Loss) -> None:
        self._to_bad, self._to_good = settings.p_gb or 0.0, settings.p_bg or 0.0
        self._loss_good, self._loss_bad = settings.loss_good, settings.loss_bad
        self._bad: bool | None = None

    def lost(self, link_outcome: float, change: float) -> bool:
        """Whether the next message is lost, from two uniform draws."""
        if self._bad is None:
            total = self._to_bad + self._to_good
            self._bad = total > 0.0 and change < self._to_bad / total
        elif self._bad:
            self._bad = change >= self._to_good
        else:
            self._bad = change < self._to_bad
        return link_outcome < (self._loss_bad if self._bad else self._loss_good)


def losses(settings: Loss) -> Bernoulli | GilbertElliott:
    """The model of the settings, at its beginning."""
    return Bernoulli(settings) if settings.model == "bernoulli" else GilbertElliott(settings)
