from pathlib import Path

import pytest
import torch
import typer
from interchange.sets import assert_same, grey_images, make_set, saved
from typer.testing import CliRunner

from hmdc_ray.cli.interchange import export, import_
from hmdc_ray.condensed import load_condensed, save_condensed
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.catalogue import EXPORTS, MEANINGS

app = typer.Typer()
app.command("import")(import_)
app.command("export")(export)


def hmdc(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    return result.output


def test_import_says_what_was_assumed(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "res.pt", {"data": [[grey_images() - 1, torch.tensor([0, 0, 1, 1])], [grey_images(), torch.arange(4)]]}
    )

    words = ("import", path, tmp_path / "out", "--format", "dc", "--statistics", "mnist")
    said = hmdc(*words, "--snapshot", 0, "--class-names", "cat, dog")

    assert "4 images of 1x4x4, 2 classes; snapshot 0 of 2" in said and str(tmp_path / "out/condensed.parquet") in said
    assert "taken as normalised with 0.1307:0.3081; f 1; labels of the file; classes cat, dog" in said
    imported = load_condensed(tmp_path / "out")
    assert torch.equal(imported.images, grey_images() - 1) and imported.class_names == ("cat", "dog")
    assert imported.mean == (0.1307,) and imported.std == (0.3081,)


def test_import_takes_every_statement(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.pt", grey_images().sigmoid())
    labels = saved(tmp_path / "l.pt", torch.tensor([1, 0, 1, 0]))
    words = ("import", path, tmp_path / "a.parquet", "--format", "tensors", "--statistics", "0.5:0.25", "--scale", "pixel")

    hmdc(*words, "--formation", 2, "--labels", labels)

    imported = load_condensed(tmp_path / "a.parquet")
    assert imported.formation == 2 and imported.labels.tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(imported.images, (grey_images().sigmoid() - 0.5) / 0.25)
    with pytest.raises(InputError, match="exists already"):
        hmdc(*words, "--formation", 2, "--labels", labels)
    hmdc(*words, "--formation", 1, "--labels", labels, "--overwrite")
    assert load_condensed(tmp_path / "a.parquet").formation == 1


def test_dc_without_statistics_is_bad_input(tmp_path: Path) -> None:
    path = saved(tmp_path / "res.pt", {"data": [[grey_images(), torch.tensor([0, 0, 1, 1])]]})

    with pytest.raises(InputError, match=r"res\.pt: a file does not name its data set: give --statistics"):
        hmdc("import", path, tmp_path / "out", "--format", "dc")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file_format", EXPORTS)
def test_export_and_back(file_format: str, tmp_path: Path) -> None:
    save_condensed(tmp_path / "run/condensed.parquet", make_set())

    hmdc("export", tmp_path / "run", tmp_path / "out", "--format", file_format)
    hmdc("import", tmp_path / "out", tmp_path / "back", "--format", file_format)

    back = load_condensed(tmp_path / "back")
    if file_format in ("npz", "safetensors", "pt"):
        assert_same(back, make_set())
    else:
        assert back.class_names == make_set().class_names and len(back) == len(make_set())
    with pytest.raises(InputError, match=r"out (exists already|is a folder)"):
        hmdc("export", tmp_path / "run", tmp_path / "out", "--format", file_format)
    hmdc("export", tmp_path / "run", tmp_path / "out", "--format", file_format, "--overwrite")


def test_help_says_what_each_format_means() -> None:
    text = " ".join(hmdc("import", "--help").replace("│", " ").split())
    for name, meaning in MEANINGS.items():
        assert f"{name}: {meaning}" in text
