"""``headgate model register``: a file of data becomes a version, with where it comes from."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.git import origin_of
from headgate.cli.model import evidence_text
from headgate.cli.output import emit_json, note
from headgate.cli.text import printable

_MAX_JSON_BYTES = 64 << 20


@click.command("register")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--metrics", type=click.Path(path_type=Path, dir_okay=False), help="JSON object of numbers; recorded as is."
)
@click.option("--dataset", "datasets", multiple=True, metavar="REF", help="train@3, a file, a .dvc file, an address.")
@click.option("--sample", type=click.Path(path_type=Path, dir_okay=False), help="JSON of a V2 or MLflow call to try.")
@click.option("--features", metavar="A,B,…", help="Names of the columns, or a file with one a line.")
@click.option("--classes", metavar="A,B,…", help="Classes in the order of the scores, where the file does not say.")
@click.option("--positive", metavar="CLASS", help="Of two classes the one that scores and recall are about.")
@click.option("--entity", metavar="COLUMN", help="Column of data frames that says whom a row is about.")
@click.option(
    "--task", type=click.Choice(["classification", "regression", "other"]), help="Where the file does not tell."
)
@click.option("--description", metavar="TEXT", help="What the model is for.")
@click.option("--message", metavar="TEXT", help="What is new in this version.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: version, is_new, report.")
@home_option
def register(name: str, file: Path, datasets: tuple[str, ...], as_json: bool, home: Path | None, **given: Any) -> None:
    """Register FILE (.onnx, or a directory or archive with one and its external data) as a version of the model NAME.

    The server checks that it is data only, runs it once on a sample, and keeps it under its hash: the same content is
    the same version. Pickles are refused; convert where the model was trained: headgate.register_model().

    \b
    Examples:
      headgate model register churn ./model.onnx --metrics metrics.json --dataset train@3 --message "more months"
      headgate model register churn ./model.onnx --features age,plan,calls --entity customer_id
    """
    facts, bundle = _facts(file, datasets, given), _bundle(file, given["sample"])
    with connect(home) as client:
        answer = client.register_model_file(name, bundle, facts)
    if as_json:
        emit_json(answer)
        return
    version, report = answer.get("version") or {}, answer.get("report") or {}
    state = "registered" if answer.get("is_new") else "registered before"
    click.echo(f"{printable(version.get('ref'))} is {state} ({printable(str(version.get('sha256'))[:12])}).")
    parity = report.get("parity")
    kind = {"kind": "replay" if parity is None else "parity", "report": parity or report}
    click.echo(f"  {evidence_text({**kind, 'passed': parity is None or parity.get('passed')})}")
    for change in answer.get("signature_changes") or []:
        note(f"Callers of the version in force will notice: {printable(change)}.")
    click.echo(f"Serve it: headgate model promote {printable(version.get('ref'))}")


def _facts(file: Path, datasets: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    from headgate.runtimes.lineage import dataset_lineage, dvc_lock_lineage

    origin = origin_of([file] if file.is_file() else sorted(file.glob("*")))
    lineage = [entry for text in datasets for entry in dataset_lineage(text, Path.cwd())]
    lineage += dvc_lock_lineage(file)
    if origin.commit is not None:
        lineage.insert(0, {"system": "git", "locator": file.name, "rev": origin.commit})
        if origin.commit.endswith("-dirty"):
            note("The model's file differs from the commit it is in; the version says so.")
    facts: dict[str, Any] = {
        "lineage": lineage,
        "author": origin.author,
        "git_commit": origin.commit,
        "metrics": {} if given["metrics"] is None else _metrics(given["metrics"]),
        "features": _names(given["features"]),
        "classes": _names(given["classes"]),
    }
    for name in ("positive", "entity", "task", "description", "message"):
        facts[name] = given[name]
    return facts


def _names(text: str | None) -> list[str]:
    if text is None:
        return []
    path = Path(text)
    if "," not in text and path.is_file():
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [part.strip() for part in text.split(",") if part.strip()]


def _metrics(path: Path) -> dict[str, Any]:
    found = _json(path)
    if not isinstance(found, dict) or any(isinstance(value, dict | list) for value in found.values()):
        raise click.UsageError(f'{path} is no JSON object of numbers, such as {{"auc": 0.91}}.')
    return found


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise click.UsageError(f"{path} is over {_MAX_JSON_BYTES >> 20} MB.")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}.") from None


def _bundle(file: Path, sample: Path | None) -> "Path | BinaryIO":
    """What is uploaded: the file as it is, or a tar of a directory, or of the file and its sample."""
    if file.is_file() and sample is None:
        return file
    members = sorted(path for path in file.iterdir() if path.is_file()) if file.is_dir() else [file]
    if sample is not None and file.is_file() and not file.name.lower().endswith(".onnx"):
        raise click.UsageError("--sample goes with an .onnx file or a directory, not with an archive.")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in members:
            archive.add(path, arcname=path.name, recursive=False)
        if sample is not None:
            data = _sample_frame(members, sample)
            info = tarfile.TarInfo("sample.bin")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def _sample_frame(members: list[Path], sample: Path) -> bytes:
    """The sample as the server keeps it: read against what the model's file says of its inputs."""
    from headgate.core.signature import Signature
    from headgate.runtimes.onnx_file import read_onnx
    from headgate.wire.frames import INFER, encode
    from headgate.wire.inference import read_call
    from headgate.wire.scoring import read_scoring

    model = next((path for path in members if path.name.lower().endswith(".onnx")), None)
    if model is None:
        raise click.UsageError("There is no .onnx file to try the sample with.")
    facts = read_onnx(model.read_bytes())
    signature = Signature(inputs=facts.inputs, outputs=facts.outputs)
    body = sample.read_bytes()
    found = _json(sample)
    is_v2 = (
        isinstance(found, dict)
        and isinstance(found.get("inputs"), list)
        and bool(found["inputs"])
        and isinstance(found["inputs"][0], dict)
    )
    call = read_call(body, None, signature) if is_v2 else read_scoring(body, "application/json", signature)
    return encode(0, INFER, call.tensors)
