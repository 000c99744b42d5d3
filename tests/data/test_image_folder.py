"""Image folders are read as they are meant, or refused: images in = images out + images
reported."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from data.dataset_files import encode, opened, random_images, write_classes
from hmdc_ray.data.image_folder import ReadingRules
from hmdc_ray.data.sources import Prepared, prepare
from hmdc_ray.errors import InputError


def prepared(tmp_path: Path, rules: ReadingRules | None = None) -> Prepared:
    return prepare(str(tmp_path / "in"), tmp_path / "out", rules=rules)


def refusal(tmp_path: Path, rules: ReadingRules | None = None) -> str:
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, rules)
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_bytes_are_kept_and_read_back(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    (source / "cat" / ".DS_Store.png").write_text("hidden")
    (source / "cat" / "notes.txt").write_text("no image")
    calls: list[tuple[int, int]] = []
    result = prepare(str(source), tmp_path / "out", progress=lambda done, total: calls.append((done, total)))
    assert result == Prepared(("ant", "cat"), {"train": (3, 3)}, (".txt files, left out: 1",))
    assert calls == [(6, 6)]
    table = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")
    assert table["label"].to_pylist() == [0, 0, 0, 1, 1, 1]
    first = table["image"][0].as_py()
    assert first == {"path": "ant/0.PNG", "bytes": (source / "ant" / "0.PNG").read_bytes()}
    info = opened(tmp_path, tmp_path / "out").info
    assert (info.class_names, info.sizes["train"], info.sizes["test"]) == (("ant", "cat"), 4, 2)


# Folders of splits


@pytest.mark.parametrize(
    "folders",
    [
        {"train": "train", "val": "validation", "test": "test"},
        {"Training": "train", "Testing": "test"},
        {"TRAIN": "train", "Dev": "validation", "evaluation": "test"},
        {"my_train_data": "train", "my_test_data": "test"},
    ],
)
def test_folders_of_splits(tmp_path: Path, folders: dict[str, str]) -> None:
    for count, name in enumerate(folders, start=1):
        write_classes(tmp_path / "in" / name, count)
    result = prepared(tmp_path)
    assert result.class_names == ("ant", "cat")
    assert result.sizes == {split: 2 * count for count, split in enumerate(folders.values(), start=1)}
    sizes = opened(tmp_path, tmp_path / "out").info.sizes
    assert sizes["train"] == 2 and sizes["test"] == result.sizes["test"]


@pytest.mark.parametrize("other", ["unlabeled", "__MACOSX", "extra images"])
def test_splits_beside_other_folders_are_refused(tmp_path: Path, other: str) -> None:
    for name in ("Training", "Testing", other):
        write_classes(tmp_path / "in" / name)
    message = refusal(tmp_path)
    assert "Testing, Training name splits" in message and f"beside them are {other}; move these away" in message


def test_classes_that_are_called_like_splits_can_be_put_into_train(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", names=("test tube", "bottle"))
    assert "if all of them are classes, put all into a folder train" in refusal(tmp_path)
    (tmp_path / "in").rename(tmp_path / "classes")
    (tmp_path / "in").mkdir()
    (tmp_path / "classes").rename(tmp_path / "in" / "train")
    assert prepared(tmp_path).class_names == ("bottle", "test tube")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("trainset", "testset"), "testset, trainset contain names of splits"),
        (("val", "valid", "train"), "val and valid are both validation images"),
        (("val", "test"), "no folder of training images beside test, val"),
        (("train-test", "val"), "names two splits"),
        (("train/Cat", "test/cat"), "there is a class 'Cat' too: if they are one, rename the folders alike"),
    ],
)
def test_unclear_splits_are_refused(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    for name in names:
        root, _, inner = name.partition("/")
        write_classes(tmp_path / "in" / root, names=(inner,) if inner else ("cat", "ant"))
    assert expected in refusal(tmp_path)


def test_keywords_within_class_names_are_no_splits(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", names=("valley", "interval"))
    assert prepared(tmp_path).class_names == ("interval", "valley")


@pytest.mark.parametrize("names", [("trainset", "testset", "unlabeled"), ("TrainA", "TrainB", "TestA", "TestB", "licence")])
def test_splits_within_words_are_refused_beside_other_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_classes(tmp_path / "in", names=names)
    message = refusal(tmp_path)
    assert "contain names of splits, but not as words" in message and names[-1] not in message


def test_keywords_within_unrelated_class_names_are_no_splits(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", names=("strainer", "valley", "device", "cup"))
    assert prepared(tmp_path).class_names == ("cup", "device", "strainer", "valley")


@pytest.mark.parametrize("inner", ["test", "Validation", "my_test_images"])
def test_test_images_within_classes_do_not_train(tmp_path: Path, inner: str) -> None:
    for name in ("cat", "dog"):
        write_classes(tmp_path / "in" / name, names=("train", inner))
    message = refusal(tmp_path)
    assert f"in/cat/{inner}: the name says " in message and "a folder within a class of train images" in message


def test_a_folder_around_the_splits_is_named_and_can_be_given(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_classes(tmp_path / "in" / "unpacked" / split)
    message = refusal(tmp_path)
    advised = message.partition("a folder per class, give ")[2].partition(";")[0]
    assert prepare(advised, tmp_path / "out").sizes == {"train": 6, "test": 6}


def test_a_folder_around_the_classes_is_no_class(tmp_path: Path) -> None:
    write_classes(tmp_path / "in" / "unpacked")
    message = refusal(tmp_path)
    assert "the only class folder is 'unpacked', with its images in folders ant, cat" in message
    assert message.endswith(f"move them into {tmp_path}/in")


def test_a_folder_of_images_without_classes_is_no_split(tmp_path: Path) -> None:
    write_classes(tmp_path / "in" / "train", 5)
    write_classes(tmp_path / "in" / "test", 2, names=())
    (tmp_path / "in" / "test").mkdir()
    (tmp_path / "in" / "test" / "1.png").write_bytes(encode(random_images(1, 4, 5, 3)[0]))
    result = prepared(tmp_path)
    assert result.sizes == {"train": 10}
    assert result.notes == (
        "there are no test images: folder 'test' holds none in class folders",
        "images beside the class folders, left out: 1",
    )


# Names in any script


@pytest.mark.parametrize("name", [b"caf\xe9/1.png", b"cat/caf\xe9.png", b"cat/\xff.txt"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: bytes) -> None:
    source = os.fsencode(write_classes(tmp_path / "in"))
    os.makedirs(os.path.dirname(os.path.join(source, name)), exist_ok=True)  # noqa: PTH103, PTH118, PTH120
    with open(os.path.join(source, name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(encode(random_images(1, 4, 5, 3)[0]))
    message = refusal(tmp_path)
    assert "?" in message and "the name is not UTF-8, rename it" in message and message.isascii()


def test_a_class_spelt_in_two_forms_of_unicode_is_one(tmp_path: Path) -> None:
    write_classes(tmp_path / "in" / "train", names=("caf\u00e9", "bar"))
    write_classes(tmp_path / "in" / "test", names=("cafe\u0301", "bar"))
    assert prepared(tmp_path) == Prepared(("bar", "caf\u00e9"), {"train": (3, 3), "test": (3, 3)}, ())
    write_classes(tmp_path / "in" / "test", names=("caf\u00e9",))
    with pytest.raises(InputError, match="two folders are called 'caf\u00e9'"):
        prepare(str(tmp_path / "in"), tmp_path / "other")


# What is left out


def test_every_format_is_read_whatever_its_ending(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "cell"
    folder.mkdir(parents=True)
    picture = Image.fromarray(random_images(1, 8, 8, 3)[0])
    kinds = {
        ".png": "PNG",
        ".tif": "TIFF",
        ".ppm": "PPM",
        ".jfif": "JPEG",
        ".avif": "AVIF",
        ".jp2": "JPEG2000",
        ".webp": "WEBP",
    }
    for ending, kind in [*kinds.items(), ("", "PNG"), (".image", "BMP"), (".0001", "GIF")]:
        for number in range(2):
            (folder / f"scan{number}{ending}").write_bytes(encode(picture, kind))
    (folder / "labels.csv").write_text("a,b")
    (folder / "README").write_text("hello")
    (folder / "empty.dat").touch()
    result = prepared(tmp_path)
    assert result.sizes == {"train": 20}
    assert set(result.notes) == {
        ".csv files, left out: 1",
        "files without ending, left out: 1",
        ".dat files, left out: 1",
    }
    dataset = opened(tmp_path, tmp_path / "out")
    assert dataset.info.sizes == {"train": 16, "validation": 0, "test": 4}


def test_images_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path / "in")
    (tmp_path / "in" / "cover.jpg").write_bytes(encode(random_images(1, 4, 5, 3)[0], "JPEG"))
    (tmp_path / "in" / "README.md").write_text("hello")
    assert prepared(tmp_path).notes == ("images beside the class folders, left out: 1",)


def test_a_class_that_is_a_link_is_read_or_refused(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    write_classes(tmp_path / "outside", names=("dog",))
    (source / "dog").symlink_to(tmp_path / "outside" / "dog")
    message = refusal(tmp_path)
    assert "in/dog is a link out of" in message and "the images of 'dog' would be missing" in message
    result = prepared(tmp_path, ReadingRules(follow_links=True))
    assert result == Prepared(("ant", "cat", "dog"), {"train": (3, 3, 3)}, ())


def test_a_class_that_is_a_link_within_the_folder_is_read(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in" / "train")
    (source / "puss").symlink_to(source / "cat")
    assert prepared(tmp_path).counts == {"train": (3, 3, 3)}


def test_a_class_that_is_a_link_to_nothing_is_refused_with_advice_that_helps(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    (source / "dog").symlink_to(tmp_path / "nowhere")
    message = refusal(tmp_path, ReadingRules(follow_links=True))
    assert "in/dog is a link to nothing" in message and message.endswith("or remove the link")


def test_a_split_that_is_a_link_to_another_is_refused(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in" / "train")
    (tmp_path / "in" / "test").symlink_to(source)
    assert "test, train lead to the same folder" in refusal(tmp_path)


def test_links_within_a_class_are_followed_or_counted(tmp_path: Path) -> None:
    source, outside = write_classes(tmp_path / "in"), write_classes(tmp_path / "outside")
    (source / "cat" / "link.png").symlink_to(outside / "cat" / "0.PNG")
    (source / "cat" / "folder").symlink_to(outside / "cat")
    (source / "cat" / "gone.png").symlink_to(outside / "none")
    (source / "ant" / "again.png").symlink_to(source / "ant" / "0.PNG")
    (source / "ant" / "circle").symlink_to(source / "ant")
    os.mkfifo(source / "ant" / "pipe.png")
    result = prepared(tmp_path)
    assert result.counts == {"train": (4, 3)}
    assert set(result.notes) == {
        "links out of the folder (--follow-links reads them), left out: 2",
        "links to nothing, left out: 1",
        "links to a folder around them, left out: 1",
        "pipes, devices or sockets, left out: 1",
    }


def test_a_class_without_images_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    (source / "dog").mkdir()
    (source / "dog" / "scan.nii").write_bytes(b"volume")
    assert "class 'dog' has no training images: it holds 1 .nii files" in refusal(tmp_path)


# Broken images


def half(image: bytes) -> bytes:
    return image[: len(image) // 2]


def test_a_broken_image_is_named_or_skipped(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in", count=4)
    broken = encode(Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG")
    (source / "cat" / "half.jpg").write_bytes(half(broken))
    (source / "ant" / "empty.png").touch()
    assert f"{source}/ant/empty.png: image cannot be decoded" in refusal(tmp_path)
    result = prepared(tmp_path, ReadingRules(skip_broken=True))
    assert result.counts == {"train": (4, 4)}
    (note,) = result.notes
    assert note.startswith("broken images, left out: 2 (ant/empty.png: ") and "cat/half.jpg: " in note
    metadata = pq.ParquetFile(tmp_path / "out" / "train-00000-of-00001.parquet").metadata.metadata[b"hmdc_ray_prepared"]
    assert b"cat/half.jpg" in metadata and b'"source": ' in metadata


def test_an_image_that_git_lfs_has_not_fetched_is_told(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    (source / "cat" / "1.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert f"{source}/cat/1.jpg: image is a pointer of Git LFS: run 'git lfs pull'" in refusal(tmp_path)


def test_a_class_of_broken_images_alone_is_refused(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    (source / "dog").mkdir()
    (source / "dog" / "1.webp").write_bytes(b"RIFF")
    message = refusal(tmp_path, ReadingRules(skip_broken=True))
    assert "class 'dog' has no whole training image, all 1 are broken" in message


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def damaged_metadata() -> dict[str, bytes]:
    """Whole images whose metadata cannot be read."""
    image = Image.fromarray(random_images(1, 8, 8, 3)[0])
    plain = encode(image)
    after_header = 8 + 25
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type exif", "\nexif\n 10\nzzzz not hexadecimal", zip=True)
    long = PngImagePlugin.PngInfo()
    long.add_text("comment", "a" * 3_000_000, zip=True)

    def png(info: PngImagePlugin.PngInfo) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", pnginfo=info)
        return buffer.getvalue()

    return {
        "profile not hexadecimal": png(texts),
        "text too long": png(long),
        "checksum of a text": plain[:after_header] + chunk(b"tEXt", b"a\0b", checksum=1) + plain[after_header:],
        "colour profile": plain[:after_header] + chunk(b"iCCP", b"x\0\0not compressed") + plain[after_header:],
        "exif": plain[:after_header] + chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff") + plain[after_header:],
    }


@pytest.mark.parametrize("case", damaged_metadata())
def test_whole_pixels_with_damaged_metadata_are_whole(tmp_path: Path, case: str) -> None:
    source = write_classes(tmp_path / "in", count=1)
    for number in range(2):
        (source / "cat" / f"image{number}.png").write_bytes(damaged_metadata()[case])
    (source / "cat" / "0.PNG").unlink()
    (source / "ant" / "deeper").rmdir()
    (source / "ant" / "0.PNG").write_bytes(encode(random_images(1, 8, 8, 3)[0]))
    assert prepared(tmp_path).counts == {"train": (1, 2)}
    pixels = opened(tmp_path, tmp_path / "out").pixels("train", [1]).numpy()[0]
    assert np.array_equal(pixels.transpose(1, 2, 0), random_images(1, 8, 8, 3)[0])


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_refused_or_scaled_by_a_stated_rule(tmp_path: Path, ending: str) -> None:
    values = np.array([[0, 128, 129], [32767, 65407, 65535]], np.uint16)
    for name in ("scan", "slice"):
        (tmp_path / "in" / name).mkdir(parents=True)
        kind = {"png": "PNG", "tif": "TIFF", "pgm": "PPM"}[ending]
        (tmp_path / "in" / name / f"1.{ending}").write_bytes(encode(Image.fromarray(values), kind))
        (tmp_path / "in" / name / f"2.{ending}").write_bytes(encode(Image.fromarray(values), kind))
    message = refusal(tmp_path, ReadingRules(skip_broken=True))
    assert f"in/scan/1.{ending}: image has mode 'I" in message and "give --scale-16-bit" in message
    result = prepared(tmp_path, ReadingRules(scale_16_bit=True))
    assert result.notes == ("images of 16 bits, scaled from 0 to 65,535 to 0 to 255: 4",)
    pixels = opened(tmp_path, tmp_path / "out").pixels("train", [0]).numpy()[0, 0]
    assert pixels.tolist() == [[0, 0, 1], [127, 255, 255]]


def test_turned_images_of_sixteen_bits_are_stored_upright(tmp_path: Path) -> None:
    source, exif = write_classes(tmp_path / "in", names=("cat",)), Image.Exif()
    exif[0x0112] = 6
    values = (np.arange(20, dtype=np.uint16) * 257).reshape(4, 5)
    Image.fromarray(values).save(source / "cat" / "00.png", exif=exif)
    prepared(tmp_path, ReadingRules(scale_16_bit=True))
    rows = pq.read_table(tmp_path / "out" / "train-00000-of-00001.parquet")["image"].to_pylist()
    (stored,) = [Image.open(io.BytesIO(row["bytes"])) for row in rows if row["path"] == "cat/00.png"]
    assert np.array_equal(np.asarray(stored), np.rot90(np.arange(20).reshape(4, 5), -1))


def test_floating_point_grey_is_refused_whatever_the_rules(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    (source / "cat" / "depth.tif").write_bytes(encode(Image.fromarray(np.ones((4, 5), np.float32)), "TIFF"))
    message = refusal(tmp_path, ReadingRules(skip_broken=True, scale_16_bit=True))
    assert "cat/depth.tif: image has mode 'F' with more than 8 bits a channel" in message and "--scale" not in message


def test_pages_and_transparency_are_told(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    first, second = (Image.fromarray(image) for image in random_images(2, 4, 5, 3))
    first.save(source / "cat" / "stack.tif", save_all=True, append_images=[second])
    first.convert("RGBA").save(source / "cat" / "cut-out.png")
    assert set(prepared(tmp_path).notes) == {
        "files of several frames or pages, of which the first is read: 1",
        "images with transparency, which is dropped: 1",
    }


def test_broken_pages_after_a_whole_first_one_are_told(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    first, second = (Image.fromarray(image) for image in random_images(2, 40, 50, 3))
    for kind in ("TIFF", "GIF"):
        buffer = io.BytesIO()
        first.save(buffer, kind, save_all=True, append_images=[second])
        (source / "cat" / f"stack.{kind}").write_bytes(buffer.getvalue()[: -len(buffer.getvalue()) // 4])
    pages = io.BytesIO()
    first.save(pages, "TIFF", save_all=True, append_images=[second])
    damaged = bytearray(pages.getvalue())
    directory = struct.unpack_from("<I", damaged, 4)[0]
    after = directory + 2 + 12 * struct.unpack_from("<H", damaged, directory)[0]
    struct.pack_into("<I", damaged, after, len(damaged) - 3)  # where the second page begins
    (source / "cat" / "stack.tif").write_bytes(damaged)
    result = prepared(tmp_path)
    assert result.counts["train"][1] == 6
    assert result.notes == ("files of several frames or pages, of which the first is read: 3",)


def test_colours_of_sixteen_bits_are_told(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in")
    rows = b"".join(b"\0" + np.full((5, 3), 0x1FFF, ">u2").tobytes() for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (source / "cat" / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels)
    assert prepared(tmp_path).notes == ("images of 16 bits a channel, of which the upper 8 are read: 1",)


def test_a_first_image_that_is_turned_sets_the_size_that_it_is_shown_in(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "in", count=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("ant", "cat"):
        (source / name / "0.PNG").unlink()
        for number in range(2):
            Image.fromarray(random_images(1, 6, 4, 3)[0]).save(source / name / f"{number}.jpg", exif=exif)
    prepared(tmp_path)
    shape = opened(tmp_path, tmp_path / "out").info.shape
    assert (shape.height, shape.width) == (4, 6)


# Any folder

NAMES = st.text(st.characters(categories=["L", "N", "Zs"], max_codepoint=0x24F), min_size=1, max_size=5)


ENDINGS = st.sampled_from([".png", ".PNG", ".jpg", ".tif", ".txt", ".json", "", ".dat"])
CONTENTS = st.sampled_from(["image", "text", "broken", "link", "link out", "hidden"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), NAMES, ENDINGS, CONTENTS), min_size=1, max_size=12, unique_by=lambda each: each[:3])
)
def test_images_in_are_images_out_and_images_reported(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, str, str, str]]
) -> None:
    """Every visible file becomes an image or is counted among what was left out, whatever its name,
    ending or content."""
    folder = tmp_path_factory.mktemp("any")
    good, outside = encode(random_images(1, 4, 5, 3)[0]), folder / "outside.png"
    outside.write_bytes(good)
    for label in range(3):  # one whole image each, so that no class is lost
        (folder / "in" / f"class {label}").mkdir(parents=True)
        (folder / "in" / f"class {label}" / "always.png").write_bytes(good)
    visible = images = 0
    for label, name, ending, content in files:
        path = folder / "in" / f"class {label}" / f"{'.' if content == 'hidden' else 'x'}{name}{ending}"
        if content in ("link", "link out"):
            path.symlink_to(outside if content == "link out" else folder / "in" / "class 0" / "always.png")
        else:
            path.write_bytes({"image": good, "hidden": good, "text": b"hello", "broken": good[:40]}[content])
        visible += content != "hidden"
        images += content in ("image", "link")
    result = prepare(str(folder / "in"), folder / "out", rules=ReadingRules(skip_broken=True))
    reported = sum(int(note.partition("left out: ")[2].split()[0]) for note in result.notes if "left out: " in note)
    assert result.sizes == {"train": images + 3}
    assert images + reported == visible
