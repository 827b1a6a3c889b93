"""Trains one version of the digits model and writes what the image serves and what its clients send.

Run once per version while the image is built (see Dockerfile): ``python train.py VERSION FOLDER``. It writes
``model.joblib`` and ``held_out.json`` into FOLDER and prints the accuracy on the held-out rows. The data is the
set of 8x8 handwritten digits that scikit-learn ships; half of it is never trained on.
"""

import json
import sys
from pathlib import Path

import joblib
from classifier import VERSIONS
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 1797


def main(version: str, folder: Path) -> None:
    """Fit, judge and save one version."""
    rows, digits = load_digits(return_X_y=True)
    train_rows, test_rows, train_digits, test_digits = train_test_split(
        rows, digits, test_size=0.5, random_state=SPLIT_SEED, stratify=digits
    )
    classifier = VERSIONS[version]().fit(train_rows, train_digits)

    clean = classifier.are_clean(test_rows)
    right = classifier.estimator.predict(classifier.features(test_rows[clean])) == test_digits[clean]
    print(f"digits {version}: answers {clean.sum()} of {len(clean)} held-out rows, accuracy {right.mean():.4f}")

    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(classifier, folder / "model.joblib")
    held_out = [
        {"body": {"pixels": row.astype(int).tolist()}, "answer": {"digit": int(digit)}}
        for row, digit in zip(test_rows, test_digits, strict=True)
    ]
    (folder / "held_out.json").write_text(json.dumps(held_out))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
