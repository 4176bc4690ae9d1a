"""Stage `fetch`: write the raw data. Its form is declared in conf/data/."""

from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow.paths import RAW_DATA


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    arrays: dict[str, Any] = digits()
    RAW_DATA.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(RAW_DATA / f"{config.data.name}.npz", **arrays)
    print(f"{len(arrays['target'])} samples written to {RAW_DATA.as_posix()}")


def digits() -> dict[str, np.ndarray]:
    """Return 1,797 handwritten digits: images (n, 8, 8) of 0 to 16, and their classes (n,).

    Replace this with a query, a download or a copy of your own data: an array for each input by
    its name (for `features`, one for each column by the column's name), and `target`. The digits
    come with scikit-learn (Alpaydin and Kaynak, 1998: Optical Recognition of Handwritten Digits).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return {"images": bunch.images.astype(np.uint8), "target": bunch.target}


if __name__ == "__main__":
    main()
