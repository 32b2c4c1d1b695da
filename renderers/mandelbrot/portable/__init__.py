"""The kernel without code of our own making: by numba where it is installed, else by numpy. The same bytes, slower."""
