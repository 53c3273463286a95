"""Search of a bit width for each layer: the controller of DNQ, and three ways without learning."""
