"""What a page may hold, and its text."""

import re
from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>{{ 7*7 }}"


_TAGS = """html head meta title link body a header nav img div span form input button main section h1 h2 h3 p small b
code pre label select option datalist dl dt dd figure figcaption svg g rect details summary time br
table caption thead tbody tfoot tr th td article ol ul li h4 line circle text"""


class _Checker(HTMLParser):
    """Refuses everything that could run or load from elsewhere, and tags that do not close."""

    allowed = frozenset(re.findall(r"\w+", _TAGS))

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.allowed or tag == "title", tag
        for name, value in attrs:
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in ("href", "src", "action"):
                assert value is not None and value.startswith(("/", "#")) and not value.startswith("//"), value
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    return checker
