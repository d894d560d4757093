"""What training does on a CPU in C++, compiled on the machine that runs it.

The time loops of the cells, the matrix exponential, clipping and Adam. `library` compiles and loads
them; `cells.native_lstm`, `native_orthogonal` and `native_exponential` and `training.adam` call
them. Without a compiler torch's operations do the same.
"""
