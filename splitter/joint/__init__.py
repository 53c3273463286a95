"""The whole way from a search space and devices to a running bundle."""
