"""Search spaces: slots, choices and elastic depth, and the modules they stand for."""
