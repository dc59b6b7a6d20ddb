"""How several methods share alpha: a method that has its answer passes its alpha on.

- Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of
  Statistics 6, 65-70.
- Maurer, W. and Bretz, F. (2013). Multiple testing in group sequential trials using graphical
  approaches. Statistics in Biopharmaceutical Research 5, 311-320.  A method that inherits alpha
  gets the boundaries of its new level, from the present look on.
"""

from __future__ import annotations

from orchestrator.decision.rule.design import Design, Levels, Look
from orchestrator.decision.rule.repeated_intervals import MARGIN_POWER, ZERO_POWER


class AlphaBudget:
    """The alpha of several methods, for the test of 0 and for those of the margin."""

    def __init__(self, design: Design, methods: list[str], share: str) -> None:
        self._design = design
        self._waiting = list(methods)
        self._next_only = share == "in_order"
        zero, margin = design.levels
        self.levels: dict[str, Levels] = {
            method: (zero / len(methods), margin / len(methods)) for method in methods
        }
        if self._next_only:
            self.levels = {method: (0.0, 0.0) for method in methods}
            self.levels.update({method: design.levels for method in methods[:1]})

    def answered(self, method: str, look: Look) -> None:
        """Pass the alpha of a method that has its answer to those that have none.

        A test that rejected passes everything on.  The other one passes what it has not spent: its
        looks are over, so it cannot err any more.
        """
        self._waiting.remove(method)
        heirs = self._waiting[:1] if self._next_only else self._waiting
        if not heirs:
            return
        time = look.number / len(self._design.looks)
        zero, margin = self.levels[method]
        if look.state in ("within", "reached"):
            zero -= zero * time**ZERO_POWER
        else:
            margin -= margin * time**MARGIN_POWER
        for heir in heirs:
            own_zero, own_margin = self.levels[heir]
            self.levels[heir] = (own_zero + zero / len(heirs), own_margin + margin / len(heirs))
