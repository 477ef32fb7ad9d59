"""Posts the gate's comment on the pull request, or updates the one that is there. Standard library only.

That a comment cannot be written is a warning and never changes the verdict: the job's summary has the same text.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

MARKER = "<!-- headgate gate of this pull request -->"
MOST_PAGES = 30
TIMEOUT_S = 30


def main() -> int:
    """Post; always 0."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    number = (event.get("pull_request") or {}).get("number")
    if not os.environ.get("GATE_TOKEN") or not isinstance(number, int):
        print("There is no token, or no pull request: the verdict is in the job's summary only.")
        return 0
    text = Path(os.environ["RUNNER_TEMP"], "headgate-comment.md").read_text(encoding="utf-8")
    base = f"/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    try:
        for identity in earlier(f"{base}/{number}/comments"):
            if updated(f"{base}/comments/{identity}", text):
                return 0
        call("POST", f"{base}/{number}/comments", {"body": text})
    except OSError as error:
        # On a fork the token may only read; the verdict stands without the comment.
        print(f"::warning::The verdict could not be written on the pull request: {str(error)[:200]!r}")
    return 0


def earlier(path: str) -> list[int]:
    """The comments that begin with our marker. Anyone may write such a text; only our own can be changed."""
    found: list[int] = []
    for page in range(1, MOST_PAGES + 1):
        comments = call("GET", f"{path}?per_page=100&page={page}")
        found += [int(one["id"]) for one in comments if str(one.get("body") or "").startswith(MARKER)]
        if len(comments) < 100:
            break
    return found


def updated(path: str, text: str) -> bool:
    """Whether the comment is ours and has the new text now."""
    try:
        call("PATCH", path, {"body": text})
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            return False
        raise
    return True


def call(method: str, path: str, body: Any = None) -> Any:
    """One call of GitHub's API; OSError when it fails."""
    request = urllib.request.Request(
        os.environ.get("GITHUB_API_URL", "https://api.github.com") + path,
        None if body is None else json.dumps(body).encode(),
        {
            "authorization": f"Bearer {os.environ['GATE_TOKEN']}",
            "accept": "application/vnd.github+json",
            "content-type": "application/json",
            "x-github-api-version": "2022-11-28",
        },
        method=method,
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
