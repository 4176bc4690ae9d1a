"""Stage `fetch`: bring in the raw data."""

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow.paths import RAW_DATA


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    images, labels = digits()
    RAW_DATA.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(RAW_DATA / f"{config.data.name}.npz", images=images, labels=labels)
    print(f"{len(images)} images written to {RAW_DATA.as_posix()}")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,797 handwritten digits: images (n, 8, 8) of 0 to 16, and their labels (n,).

    Replace this with a query, a download or a copy of your own data. The digits come with
    scikit-learn (Alpaydin and Kaynak, 1998: Optical Recognition of Handwritten Digits).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


if __name__ == "__main__":
    main()
