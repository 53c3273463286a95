"""Cost of every layer on every device: computed from device cards, or measured."""
