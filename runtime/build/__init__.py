"""Lowers a placed program to kernels, const tables and one static executable per device."""
