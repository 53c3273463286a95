"""The period of a pipeline over processors and accelerators of one computer, exactly."""
