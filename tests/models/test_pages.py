"""The pages of classic models: what they show, what their forms change, what stays text."""

import http.client
import re
from urllib.parse import urlencode

from support.models import breast_cancer, infer_body, labelled, register
from support.pages import HOSTILE, checked
from support.server import RunningServer, eventually


def page(
    server: RunningServer, path: str, *, key: str | None = None, form: dict[str, str] | None = None
) -> tuple[int, str]:
    """A page, or what a form of it answers: status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {} if key is None else {"x-headgate-key": key}
    try:
        if form is None:
            connection.request("GET", path, headers=headers)
        else:
            headers["content-type"] = "application/x-www-form-urlencoded"
            connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def csrf(text: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_the_list_shows_champions_processes_and_calls(server: RunningServer) -> None:
    _, headers, _ = server.post("/v2/models/tumour/infer", infer_body(breast_cancer().rows[:2]))
    server.row(headers["x-headgate-request-id"])
    status, text = page(server, "/ui/models")
    assert status == 200 and 'aria-current="page">Models' in text
    assert "/ui/models/tumour" in checked(text).links
    row = re.search(r"<tr>.*?/ui/models/tumour\".*?</tr>", text, re.S)
    assert row is not None
    assert '<span class="badge good">1</span>' in row[0] and "1 ready" in row[0] and "classification" in row[0]
    assert re.search(r'class="num calls"><a [^>]+>[1-9]', row[0])


def test_one_model_shows_evidence_labels_and_what_a_move_lacks(server: RunningServer) -> None:
    good = breast_cancer()
    name = "churn-shown"
    register(
        server, name, good.onnx, features=list(good.features), classes=["0", "1"], positive="1",
        metrics={"auc": 0.99}, message=HOSTILE, author=HOSTILE, description=HOSTILE,
        lineage=[{"system": "uri", "locator": HOSTILE}],
    )  # fmt: skip
    _, text = page(server, f"/ui/models/{name}")
    shown = checked(text).text
    for words in ("not released", "Version 1 lacks:", "asks for a passing receipt", "It was not judged yet", "auc"):
        assert words in shown, words
    assert HOSTILE in shown and HOSTILE not in text

    rows = {"name": "pages", "rows_jsonl": labelled(good)}
    server.api("/api/datasets/push", body=rows)
    server.api(f"/api/models/{name}/gate", body={"version": 1, "dataset": "pages"})
    _, headers, _ = server.post(f"/v2/models/{name}/versions/1/infer", infer_body(good.rows[:3]))
    request = headers["x-headgate-request-id"]
    server.row(request)
    labels = [{"request_id": request, "row": row, "label": int(good.truth[row])} for row in range(3)]
    server.api("/api/labels", body={"labels": labels})
    eventually(
        lambda: "3 100 %" in checked(page(server, f"/ui/models/{name}")[1]).text, within_s=5, what="the labels are seen"
    )
    shown = checked(page(server, f"/ui/models/{name}")[1]).text
    for words in ("roc_auc", "accuracy", "95 % interval", "rcpt_", "asks for 1 approval", "nothing in force", "ready"):
        assert words in shown, words


def test_the_forms_move_under_the_same_rule(server: RunningServer) -> None:
    good, name = breast_cancer(), "churn-forms"
    register(server, name, good.onnx, features=list(good.features), classes=["0", "1"])
    key = server.api("/api/keys", body={"name": "forms", "role": "approver"})["plaintext"]
    _, text = page(server, f"/ui/models/{name}", key=key)
    form = {"csrf": csrf(text), "alias": "champion", "version": "1", "reason": "seen"}
    assert page(server, f"/ui/models/{name}/aliases", key=key, form={**form, "csrf": "0"})[0] == 403
    status, text = page(server, f"/ui/models/{name}/aliases", key=key, form=form)
    assert (status, "may not become champion" in checked(text).text) == (403, True)
    assert page(server, f"/ui/models/{name}/approve", key=key, form=form)[0] == 303
    assert "seen" in checked(page(server, f"/ui/models/{name}", key=key)[1]).text
    assert page(server, f"/ui/models/{name}/aliases", key=key, form={**form, "alias": "challenger"})[0] == 303
    assert page(server, f"/ui/models/{name}/aliases", key=key, form={**form, "override": "1"})[0] == 303
    assert server.api(f"/api/models/{name}")["aliases"] == {"challenger": 1, "champion": 1}
    assert page(server, f"/ui/models/{name}/aliases/remove", key=key, form={**form, "alias": "challenger"})[0] == 303
    status, text = page(server, f"/ui/models/{name}/rollback", key=key, form=form)
    assert (status, "no earlier version" in checked(text).text) == (404, True)
    shown = checked(page(server, f"/ui/models/{name}", key=key)[1]).text
    assert "override" in shown and "champion 1" in shown
