"""Makes the demo's model and its labelled rows: `python scripts/sample_model.py` (needs the development environment).

Trained on every other flower of the iris data that scikit-learn bundles (R. A. Fisher, 1936; UCI Machine Learning
Repository, CC BY 4.0); the other half, with its labels, is the dataset that the model can be tested on.
"""

import json
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(__file__).parent.parent / "src" / "headgate" / "samples" / "models"


def main() -> None:
    """Write both files."""
    data = load_iris()
    features = [name.removesuffix(" (cm)").replace(" ", "_") + "_cm" for name in data.feature_names]
    rows = data.data.astype(np.float32)
    names = data.target_names[data.target]
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows[::2], names[::2])
    FOLDER.mkdir(exist_ok=True)
    onnx = to_onnx(estimator, rows[:1], options={"zipmap": False}, target_opset=17).SerializeToString()
    (FOLDER / "iris.onnx").write_bytes(onnx)
    lines = [
        {
            "id": f"flower-{number}",
            "input": dict(zip(features, (round(float(value), 1) for value in data.data[number]), strict=True)),
            "expected": str(names[number]),
        }
        for number in range(1, len(rows), 2)
    ]
    (FOLDER / "iris-holdout.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
