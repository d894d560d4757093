"""The time loops of the cells in C++, compiled on the machine that runs them; CPU only.

`library` compiles and loads them; the cells call them (`cells.native_lstm`,
`cells.native_orthogonal`). Without a compiler the cells use torch's operations.
"""
