"""nn.Module, exported program or ONNX file -> `Program` in canonical form."""

from splitter.tracing.trace import trace

__all__ = ["trace"]
