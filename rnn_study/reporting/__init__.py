"""What a study says, for people: on a terminal, as files in its folder, and on one page.

`terminal`, with the parts in `layout`, prints; `files` writes, `tables` has the text of its tables;
`page` is `report.html`. `attractors`, `language`, `searches` and `chaotic` do the same for studies
of their kind; `albums` makes the artifacts of a watched run; `status` shows a running study.
"""
