"""Does a plan respect the rules? Part of `splitter.verify`; shares no code with the planner."""

from fnmatch import fnmatchcase

from splitter.constraints import Constraints
from splitter.plan import Plan


def rule_faults(plan: Plan, rules: Constraints) -> list[str]:
    """Every rule that ``plan`` breaks, in words."""
    return _together(plan, rules)


def _together(plan: Plan, rules: Constraints) -> list[str]:
    faults: list[str] = []
    for patterns in rules.together:
        used = {d for layer, d in plan.placement.items() if _matches(layer, patterns)}
        if len(used) > 1:
            devices = ", ".join(sorted(used))
            faults.append(f"the layers of {', '.join(patterns)} run on {devices}, not on one")
    return faults


def _matches(layer: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(layer, pattern) for pattern in patterns)
