"""Integer kernels in C, specialised for a layer by macros that the compiler writes."""
