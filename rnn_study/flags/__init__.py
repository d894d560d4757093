"""Command lines: from words to settings, and back.

`study`: every field of `Study` and `Execution` is a flag; `script`: every field of a script's own
dataclass; `fields`: flags from fields; `words`: values from words; `again`: the line that asks for
a study again.
"""
