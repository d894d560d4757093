"""Kernels that run the whole time loop of a pack in one launch. They need `triton`.

None is in use: a kernel becomes part of its cell when a recorded measurement shows that it wins.
`benchmarks/gpu.py` makes that measurement.
"""
