"""Pictures have the names that MLflow gives them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from hmdc_ray.tracking.pictures import picture, picture_files, write_picture
from tracking.mlflow_server import Store, StubTracker, artifacts, recorded


def test_a_picture_made_again_has_the_same_files(tmp_path: Path) -> None:
    run = StubTracker().sender(tmp_path).run
    record = picture(run, "a/b:c", 7)
    assert record == picture(run, "a/b:c", 7) != picture(run, "a/b:c", 8)
    pixels = (np.arange(3 * 600) % 256).astype(np.uint8).reshape(3, 600, 1)
    write_picture(tmp_path, record, pixels)
    full, small = picture_files(tmp_path, record)
    with Image.open(full) as first, Image.open(small) as second:
        assert np.array_equal(np.asarray(first), pixels[:, :, 0]) and second.size == (256, 1)


def test_pictures_have_the_names_that_mlflow_gives_them(store: Store) -> None:
    """Its pages read series, step and time from the names."""
    picture = np.zeros((8, 400, 3), np.uint8)
    recorder = recorded(store.folder / "pictures")
    recorder.image("grids/condensed", picture, 7)
    recorder.finish("FINISHED")
    theirs = store.client.create_run("0").info.run_id
    store.client.log_image(theirs, picture, key="grids/condensed", step=7, synchronous=True)

    def patterns(run_id: str) -> set[str]:
        return {re.sub(r"timestamp\+\d+\+[0-9a-f-]{36}", "", path) for path in artifacts(store.client, run_id, "images")}

    assert patterns(recorder.run_id) == patterns(theirs)
    flag = "mlflow.loggedImages"
    assert store.client.get_run(recorder.run_id).data.tags[flag] == store.client.get_run(theirs).data.tags[flag]
