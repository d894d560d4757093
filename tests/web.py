"""A page as a reader finds it: its tables, pictures, text and what it would fetch."""

from __future__ import annotations

from html.parser import HTMLParser

FETCHES = ("src", "href", "srcset", "data", "poster", "action", "background")
VOID = ("meta", "img", "br", "link", "input", "hr")


class Web(HTMLParser):
    """The parts of a page; every tag that opens has closed when this is made."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.pictures: dict[str, str] = {}
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.preformatted = ""
        self._open: list[str] = []
        self._figure = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.fetched += [given[name] for name in FETCHES if name in given]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "figure":
            self._figure = given["id"]
        elif tag == "img":
            self.pictures[self._figure] = given["src"]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            assert "url(" not in data and "@import" not in data
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        if "pre" in self._open:
            self.preformatted += data

    def table(self, *titles: str) -> list[dict[str, str]]:
        """The rows of the one table that has these titles, by title."""
        (found,) = (t for t in self.tables if any(set(titles) <= set(row) for row in t))
        head = next(row for row in found if set(titles) <= set(row))
        rows = found[found.index(head) + 1 :]
        return [dict(zip(head, row, strict=True)) for row in rows]
