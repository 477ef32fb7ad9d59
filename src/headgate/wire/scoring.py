"""MLflow's scoring protocol: data frames, instances, inputs or CSV in, `{"predictions": …}` out.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally (request formats, seen 2026-11).
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from headgate.core.signature import DATATYPE, Datatype, Signature, TensorSpec
from headgate.wire.frames import Tensor
from headgate.wire.inference import Call, rows_of
from headgate.wire.tensor_json import bad_input, pack, tensor_from_json, values_of

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_MAX_COLUMNS = 100_000


_ABSENT = msgspec.Raw(b"null")


class _Split(msgspec.Struct):
    data: list[list[Any]]
    columns: list[str] | None = None
    index: list[Any] | None = None


class _Scoring(msgspec.Struct):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    # Raw alone: beside None in a union it would take nothing but null.
    instances: msgspec.Raw = _ABSENT
    inputs: msgspec.Raw = _ABSENT
    params: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Scoring).decode
_encode = msgspec.json.Encoder().encode


def read_scoring(body: bytes, content_type: str, signature: Signature) -> Call:
    """The call in a body of MLflow's form. Raises MalformedRequest naming what was expected."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "text/csv":
        return _from_csv(body, signature)
    if media_type not in ("application/json", ""):
        raise bad_input(f'the content type is "{media_type[:60]}". Expected application/json or text/csv.')
    try:
        given = _decode(body)
    except msgspec.ValidationError as error:
        raise bad_input(f"the request does not fit: {error}. Expected one of {', '.join(_FORMS)}.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_input(f"the request body is no valid JSON: {error}.") from None
    forms = [name for name in _FORMS if getattr(given, name) not in (None, _ABSENT)]
    if len(forms) != 1:
        raise bad_input(f"the request holds {' and '.join(forms) or 'none'} of {', '.join(_FORMS)}. Expected one.")
    if given.dataframe_split is not None:
        split = given.dataframe_split
        return _from_table(split.columns, split.data, signature)
    if given.dataframe_records is not None:
        return _from_records(given.dataframe_records, signature)
    is_by_row = given.instances != _ABSENT
    return _from_tensors(bytes(given.instances if is_by_row else given.inputs), signature, is_by_row=is_by_row)


def scoring_answer(call: Call, tensors: Sequence[Tensor], signature: Signature) -> bytes:
    """The answer's body: the prediction of each row; where nothing is called that, every output by its name."""
    by_name = dict(zip((spec.name for spec in signature.outputs), tensors, strict=True))
    if signature.predicted is not None:
        tensor = by_name[signature.predicted]
        return _encode({"predictions": values_of(tensor)})
    if len(by_name) == 1:
        return _encode({"predictions": _nested(tensors[0])})
    return _encode({"predictions": {name: _nested(tensor) for name, tensor in by_name.items()}})


def _nested(tensor: Tensor) -> Any:
    values: list[Any] = values_of(tensor)
    for size in reversed(tensor.shape[1:]):
        values = [values[at : at + size] for at in range(0, len(values), size)] if size else []
    return values


def column_names(signature: Signature) -> tuple[str, ...]:
    """The columns a data frame may have, in order; empty when the model is no table or has no names."""
    if signature.features:
        return signature.features
    return tuple(spec.name for spec in signature.inputs) if not signature.is_matrix and signature.is_columns else ()


def _expected(signature: Signature) -> str:
    names = column_names(signature)
    if not names:
        return f"Expected: {'; '.join(map(str, signature.inputs[:20]))}."
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Expected columns: {', '.join(names[:20])}{more}."


def _refuse(message: str, signature: Signature) -> NoReturn:
    raise bad_input(f"{message} {_expected(signature)}")


def _from_csv(body: bytes, signature: Signature) -> Call:
    try:
        text = body.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        _refuse(f"the body is no CSV in UTF-8: {error}.", signature)
    lines = [line for line in lines if line]
    if not lines:
        _refuse("the CSV is empty.", signature)
    kinds = _kinds(signature)
    columns, rows = lines[0], lines[1:]
    if kinds is not None and not any(name in kinds for name in columns):
        _refuse(f"the CSV's first line names none of the model's columns: {', '.join(columns[:10])[:200]}.", signature)
    typed = [[_cell(text, _kind_of(kinds, columns, place)) for place, text in enumerate(row)] for row in rows]
    return _from_table(columns, typed, signature)


def _kinds(signature: Signature) -> Mapping[str, Datatype] | None:
    names = column_names(signature)
    if not names:
        return None
    if signature.is_matrix:
        return dict.fromkeys(names, DATATYPE[signature.inputs[0].datatype])
    return {spec.name: DATATYPE[spec.datatype] for spec in signature.inputs}


def _kind_of(kinds: Mapping[str, Datatype] | None, columns: Sequence[str], place: int) -> Datatype | None:
    if kinds is None:
        return DATATYPE["FP32"]
    return kinds.get(columns[place]) if place < len(columns) else None


def _cell(text: str, kind: Datatype | None) -> Any:
    """A CSV cell as the value its column takes; what cannot be one stays text, and is refused by name later."""
    if kind is None or kind.json == "text":
        return text
    plain = text.strip()
    if not plain:
        return None
    try:
        if kind.json == "int":
            return int(plain)
        if kind.json == "bool":
            return {"true": True, "false": False, "1": True, "0": False}.get(plain.lower(), text)
        return float(plain)
    except ValueError:
        return text


def _from_records(records: list[dict[str, Any]], signature: Signature) -> Call:
    if not records:
        _refuse("dataframe_records is empty.", signature)
    columns = list(records[0])
    known = set(columns)
    for number, record in enumerate(records):
        if record.keys() != known:
            odd = sorted(record.keys() ^ known)
            _refuse(f"record {number} has other columns than the first: {', '.join(odd[:10])[:200]}.", signature)
    return _from_table(columns, [[record[name] for name in columns] for record in records], signature)


def _from_table(columns: list[str] | None, rows: list[list[Any]], signature: Signature) -> Call:
    """A table by its columns' names; by their order where neither side names them."""
    if not rows:
        _refuse("the data frame has no rows.", signature)
    names = column_names(signature)
    width = len(columns) if columns is not None else len(rows[0])
    if width > _MAX_COLUMNS:
        _refuse(f"the data frame has {width} columns.", signature)
    for number, row in enumerate(rows):
        if len(row) != width:
            _refuse(f"row {number} has {len(row)} values, the data frame {width} columns.", signature)
    entities: tuple[str | None, ...] = ()
    if columns is not None and signature.entity is not None and signature.entity in columns:
        place = columns.index(signature.entity)
        entities = tuple(None if row[place] is None else str(row[place])[:256] for row in rows)
        columns = columns[:place] + columns[place + 1 :]
        rows = [row[:place] + row[place + 1 :] for row in rows]
    if columns is not None and names:
        rows = _ordered(columns, rows, names, signature)
    elif names and len(rows[0]) != len(names):
        _refuse(f"the data frame has {len(rows[0])} columns, the model takes {len(names)}.", signature)
    tensors = _tensors_of_table(rows, signature)
    return Call(tensors=tensors, rows=rows_of(tensors, signature), entities=entities, style="scoring")


def _ordered(columns: list[str], rows: list[list[Any]], names: Sequence[str], signature: Signature) -> list[list[Any]]:
    if len(set(columns)) != len(columns):
        _refuse("a column is named twice.", signature)
    places = {name: place for place, name in enumerate(columns)}
    missing = [name for name in names if name not in places]
    known = set(names)
    unknown = [name for name in columns if name not in known]
    if missing or unknown:
        what = [f"missing: {', '.join(missing[:10])}"] if missing else []
        what += [f"unknown: {', '.join(unknown[:10])[:200]}"] if unknown else []
        _refuse(f"the columns do not fit; {'; '.join(what)}.", signature)
    if list(names) == columns:
        return rows
    order = [places[name] for name in names]
    return [[row[place] for place in order] for row in rows]


def _tensors_of_table(rows: list[list[Any]], signature: Signature) -> list[Tensor]:
    count = len(rows)
    if signature.is_matrix:
        spec = signature.inputs[0]
        shape = (count, len(rows[0]))
        if not spec.accepts(shape):
            _refuse(f"the data frame is {list(shape)}.", signature)
        return [_packed([value for row in rows for value in row], shape, spec)]
    if not signature.is_columns:
        _refuse("this model takes no data frame; send inputs or call it by the V2 protocol.", signature)
    if len(rows[0]) != len(signature.inputs):
        _refuse(f"the data frame has {len(rows[0])} columns, the model takes {len(signature.inputs)}.", signature)
    found: list[Tensor] = []
    for place, spec in enumerate(signature.inputs):
        shape_of = (count,) if len(spec.shape) == 1 else (count, 1)
        if not spec.accepts(shape_of):
            _refuse(f'column "{spec.name}" has {count} rows.', signature)
        found.append(_packed([row[place] for row in rows], shape_of, spec))
    return found


def _packed(values: list[Any], shape: tuple[int, ...], spec: TensorSpec) -> Tensor:
    """Values of a table as a tensor; each must be what the type takes."""
    kind = DATATYPE[spec.datatype]
    if kind.json == "none":
        raise bad_input(f'input "{spec.name}" is {kind.name}, which travels as binary V2 data only.', spec)
    wanted: tuple[type, ...] = {"bool": (bool,), "int": (int,), "float": (int, float), "text": (str,)}[kind.json]
    for place, value in enumerate(values):
        if isinstance(value, wanted) and (kind.json == "bool" or not isinstance(value, bool)):
            continue
        if value is None and kind.json == "float":
            continue
        if kind.json == "int" and isinstance(value, float) and value.is_integer():
            values[place] = int(value)
            continue
        raise bad_input(f'{str(value)[:60]!r} does not fit "{spec.name}", which takes {kind.name}.', spec)
    return Tensor(kind.code, shape, pack(values, kind, spec))


def _from_tensors(raw: bytes, signature: Signature, *, is_by_row: bool) -> Call:
    """`instances`: a list of rows; `inputs`: a list of rows, or a list per named input."""
    head = raw.lstrip()[:1]
    if head == b"{" and not is_by_row:
        return _from_named(raw, signature)
    if head != b"[":
        _refuse(f"{'instances' if is_by_row else 'inputs'} is no list.", signature)
    if raw.lstrip()[1:].lstrip()[:1] == b"{":
        try:
            records = msgspec.json.decode(raw, type=list[dict[str, Any]])
        except msgspec.DecodeError as error:
            _refuse(f"the rows cannot be read: {error}.", signature)
        return _from_records(records, signature)
    if len(signature.inputs) != 1:
        _refuse(f"the model has {len(signature.inputs)} inputs, and the rows do not name them.", signature)
    spec = signature.inputs[0]
    tensor = tensor_from_json(raw, _shape_of(raw, spec, signature), spec)
    return Call(tensors=[tensor], rows=rows_of([tensor], signature), style="scoring")


def _from_named(raw: bytes, signature: Signature) -> Call:
    try:
        given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        _refuse(f"inputs cannot be read: {error}.", signature)
    known = {spec.name for spec in signature.inputs}
    if given.keys() != known:
        if signature.is_matrix and set(signature.features) == given.keys():
            columns = [msgspec.json.decode(given[name], type=list[Any]) for name in signature.features]
            if len({len(column) for column in columns}) == 1:
                return _from_table(list(signature.features), [list(row) for row in zip(*columns)], signature)  # noqa: B905
        odd = sorted(given.keys() ^ known)
        _refuse(f"inputs missing or unknown: {', '.join(odd[:10])[:200]}.", signature)
    tensors = [
        tensor_from_json(bytes(given[spec.name]), _shape_of(bytes(given[spec.name]), spec, signature), spec)
        for spec in signature.inputs
    ]
    return Call(tensors=tensors, rows=rows_of(tensors, signature), style="scoring")


def _shape_of(raw: bytes, spec: TensorSpec, signature: Signature) -> tuple[int, ...]:
    """The shape of a nested list, by the first element of each level; a flat list for a column of width 1."""
    try:
        value: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        _refuse(f"the values cannot be read: {error}.", signature)
    shape: list[int] = []
    while isinstance(value, list) and len(shape) < 16:
        shape.append(len(value))
        value = value[0] if value else None
    found = tuple(shape)
    if len(found) == 1 and len(spec.shape) == 2 and spec.accepts((*found, 1)):
        found = (*found, 1)
    if not spec.accepts(found):
        raise bad_input(f"the values have shape {list(found)}.", spec)
    return found
