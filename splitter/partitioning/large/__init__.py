"""Plans for problems too large for the integer program: searches and bounds that scale."""

from splitter.partitioning.large.solve import (
    fastest_devices,
    is_large,
    solve_large,
    transport_variables,
)

__all__ = ["fastest_devices", "is_large", "solve_large", "transport_variables"]
