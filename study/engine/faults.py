"""Which trial an exception is blamed on.

An exception while several trials share a bank is blamed on none of them until it recurs: all
resume from their newest checkpoints, and each is a suspect, trained alone up to its next report. A
suspect that raises alone has crashed.

Where the device runs out of memory, all trials resume from their newest checkpoints in banks of
half the width; those that find no row wait for one. In banks of one row, the rule above decides.
Where it also held banks that nobody trained in, the width stays: they go first.
"""

from __future__ import annotations

import traceback

import torch

from study.engine.banks import Banks
from study.engine.slots import Slots
from study.engine.trial_run import TrialRun
from vae_core.memory import is_out_of_memory


class Faults:
    """Handles the exceptions of an engine's trials.

    Args:
        slots: the engine's trials.
        banks: its banks.
        device: where it trains.
    """

    def __init__(self, slots: Slots, banks: Banks, device: torch.device) -> None:
        self._slots, self._banks, self._device = slots, banks, device

    def handle(self, runs: list[TrialRun], error: Exception) -> None:
        """Crash the trial that is to blame for an exception, or requeue all that are involved.

        Args:
            runs: those that were training, or being evaluated.
            error: what was raised.

        Raises:
            Exception: ``error``, if the device has failed: no trial could be judged on it.
        """
        self._check_device(error)
        involved, own = runs, {run.bank for run in runs}
        banks = set(own)
        memory = is_out_of_memory(error)
        if memory:  # everything on the device takes part of it
            occupants = self._slots.occupants
            involved = [*occupants, *(run for run in runs if run not in occupants)]
            banks = set(self._banks.all)
        spare = memory and bool(self._banks.idle({run.shape for run in runs}))
        narrower = memory and not spare and self._slots.width > 1
        if narrower:
            self._banks.halve()
        elif not spare and len(involved) == 1 and banks <= own:
            [run] = involved
            crashed = run.crashed("".join(traceback.format_exception(error)))
            self._slots.publish(run, crashed, self._banks.placement(run))
            return
        # Their rows may be half a step on: they go with their banks.
        self._banks.drop(banks)
        with self._slots.change:
            for run in involved:
                run.put_back()
                run.suspect = run.suspect or not (narrower or spare)
                self._slots.requeue(run)

    def clear_suspicion(self, run: TrialRun) -> None:
        """A suspect has made a report alone: make room for the next suspect."""
        run.suspect = False
        if not run.over and any(other.suspect for other in self._slots.waiting):
            run.leave()
            self._slots.requeue(run)

    def _check_device(self, error: Exception) -> None:
        """Raise ``error`` if the device does not work any more."""
        try:
            torch.ones(1, device=self._device).add(1).item()
        except Exception as other:
            if not is_out_of_memory(other):
                raise error from None
