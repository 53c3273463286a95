"""Loop schedules for CPUs, as rules over TIR, parametrised by the machine's description."""

from runtime.build.schedule.rules import schedule

__all__ = ["schedule"]
