"""Split one trained network over several devices and compile one native program for each."""

__version__ = "0.1.0"
