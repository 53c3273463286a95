"""The node program, C11. No Python lives here; the package exists to carry the sources."""
