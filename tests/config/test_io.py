"""Reading and writing configurations: what is written reads back, and every fault is one clear
line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hmdc_ray.config import RunConfig, Section
from hmdc_ray.config.io import apply_overrides, commented_yaml, dump_config, flatten, load_config, parse_config
from hmdc_ray.errors import InputError

POOL = {
    "members": [
        {"architecture": "convnet", "options": {"width": 64, "norms": ["group", None], "deep": {"x": 1e-5}}},
        {"architecture": "vit", "learning_rate": 0.1, "resources": {"a100": 0.5}},
        {"architecture": "my.nets:small", "name": "third"},
    ],
    "main": "vit",
}


RICH = parse_config(
    {
        "name": "2024-01-01",
        "pool": POOL,
        "data": {"image_size": [28, 30], "channels": 1, "source": "it's a 'path': # no comment\nsecond line"},
        "matching": {"families": ["flip", "crop"]},
        "evaluation": {"students": ["convnet", "mlp"], "epochs": 3},
        "images": {"learning_rate": 1e-7},
    },
    "test",
)


@pytest.mark.parametrize("config", [RunConfig(), RICH], ids=["default", "rich"])
def test_what_is_written_reads_back(config: RunConfig, tmp_path: Path) -> None:
    for text in (dump_config(config), commented_yaml(config)):
        (tmp_path / "config.yaml").write_text(text)
        assert load_config(tmp_path) == config
        assert load_config(tmp_path / "config.yaml") == config


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain), st.text(min_size=1))
@settings(deadline=None, max_examples=40, database=None, phases=[Phase.explicit, Phase.generate, Phase.shrink])
def test_any_options_and_texts_survive_writing(options: dict[str, Any], source: str) -> None:
    config = parse_config({"pool": {"members": [{"architecture": "mlp", "options": options}]}, "data": {"source": source}}, "x")
    for text in (dump_config(config), commented_yaml(config)):
        assert parse_config(yaml_of(text), "x") == config


def yaml_of(text: str) -> dict[str, Any]:
    from hmdc_ray.config.io import _parse_yaml

    data = _parse_yaml(text, "test")
    assert isinstance(data, dict)
    return data


def test_plain_yaml_is_read_alike_by_others() -> None:
    assert parse_config(yaml.safe_load(dump_config(RICH)), "x") == RICH


def test_commented_yaml_explains_every_field() -> None:
    text = " ".join(commented_yaml(RICH).replace("#", "").split())
    for name, field in {**type(RICH).model_fields, **type(RICH.pool.members[0]).model_fields}.items():
        assert f"{name}:" in text
        assert (field.description or "") in text
    assert max(map(len, commented_yaml(RICH).splitlines())) <= 128


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- 1\n", "holds [1]: must hold keys and values"),
        ("hello", "holds 'hello': must hold keys and values"),
        ("seed: 0\nimages: {ipc: 1\n", "x.yaml line 3"),
        ("seed: 0\nseed: 1\n", "x.yaml line 2: 'seed' is given twice"),
        ("images:\n  ipc: 1\n  clip: true\n  ipc: 2\n", "x.yaml line 4: 'ipc' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "x.yaml line 1: could not determine a constructor"),
        (b"\xff\xfeseed", "is not text in UTF-8 (byte 0)"),
        ("seed: \x00", "must be valid YAML"),
        ("[" * 500, "nested too deeply"),
        ("pool: &a {members: [{architecture: mlp, options: {x: *a}}]}", "contains itself"),
        ("balance: {mode: off}", "balance.mode is false: must be one of none, sum, max, ema, last; use none"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes | str, message: str) -> None:
    file = write(tmp_path / "x.yaml", content)
    with pytest.raises(InputError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing.yaml does not exist: give a YAML file or the folder of a run"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(InputError, match=r"holds no config.yaml"):
        load_config(tmp_path)
    file = write(tmp_path / "file.yaml", "seed: 0")
    with pytest.raises(InputError, match="cannot be read: Not a directory"):
        load_config(file / "below")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("train.parquet", "with --data, as in: hmdc condense dc --data {}"),
        ("train/cat/1.JPG", "first made ready, as in: hmdc prepare {} OUT"),
        ("notes.txt", "the folder of a run"),
    ],
)
def test_images_in_a_configurations_place_are_shown_theirs(tmp_path: Path, name: str, hint: str) -> None:
    file = tmp_path / "my images" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff")
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "my images")
    assert hint.format(f"'{tmp_path / 'my images'}'") in str(caught.value)
    assert ("--data" in str(caught.value)) == (name != "notes.txt")


def test_a_parquet_file_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not text in UTF-8 \(byte 0\): give a YAML file; .*--data"):
        load_config(write(tmp_path / "x.parquet", b"\xff"))


def test_numbers_with_exponents_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = write(tmp_path / "x.yaml", "\ufeffimages: {learning_rate: 1e-3}\nname: '1e-3'\n")
    file.chmod(stat.S_IRUSR)
    config = load_config(file)
    assert config.images.learning_rate == 0.001
    assert config.name == "1e-3"
    assert "name: '1e-3'" in dump_config(config)


@pytest.mark.parametrize(
    ("assignment", "path", "expected"),
    [
        ("images.ipc=10", ("images", "ipc"), 10),
        (" images.ipc =10", ("images", "ipc"), 10),
        ("images.learning_rate=1e-3", ("images", "learning_rate"), 1e-3),
        ("seed=3", ("seed",), 3),
        ("name=2024", ("name",), "2024"),
        ("data.source=off", ("data", "source"), "off"),
        ("data.source=a=b", ("data", "source"), "a=b"),
        ("data.cache=null", ("data", "cache"), None),
        ("data.image_size=[32, 24]", ("data", "image_size"), (32, 24)),
        ("matching.families=[]", ("matching", "families"), ()),
        ("pool.members.0.learning_rate=0.3", ("pool", "members", 0, "learning_rate"), 0.3),
        ("pool.members.vit.learning_rate=0.3", ("pool", "members", 1, "learning_rate"), 0.3),
        ("pool.members.third.options.depth=2", ("pool", "members", 2, "options"), {"depth": 2}),
        ("pool.members.convnet.options.deep.x=7", ("pool", "members", 0, "options", "deep"), {"x": 7}),
        ("pool.members.convnet.options.new.x=7", ("pool", "members", 0, "options", "new"), {"x": 7}),
        ("pool.members.0.architecture=lenet", ("pool", "members", 0, "name"), "lenet"),
        ("pool.members.third.architecture=lenet", ("pool", "members", 2, "name"), "third"),
        ("evaluation.students=[vit]", ("evaluation", "students", 0, "name"), "vit"),
        ("evaluation.students.mlp=lenet", ("evaluation", "students", 1, "name"), "lenet"),
        ('images={"ipc": 4}', ("images", "ipc"), 4),
        ("evaluation.distillation={}", ("evaluation", "distillation", "alpha"), 0.5),
        ("evaluation.distillation.alpha=0.3", ("evaluation", "distillation", "alpha"), 0.3),
        ("evaluation.distillation.alpha=0.3", ("evaluation", "distillation", "teacher", "name"), "convnet"),
        ("evaluation.distillation.temperatures=[1, 4]", ("evaluation", "distillation", "temperatures"), (1.0, 4.0)),
        ("evaluation.distillation.teacher=mlp", ("evaluation", "distillation", "teacher", "name"), "mlp"),
        ("evaluation.distillation.teacher.options.width=3", ("evaluation", "distillation", "teacher", "options"), {"width": 3}),
    ],
)
def test_assignments(assignment: str, path: tuple[str | int, ...], expected: Any) -> None:
    value: Any = apply_overrides(RICH, [assignment])
    for key in path:
        value = getattr(value, key) if isinstance(value, Section) else value[key]  # type: ignore[arg-type]
    assert value == expected


def test_assignments_are_applied_in_order_and_checked_together() -> None:
    changes = ["pool.main=mlp", "pool.members=[vit, mlp]", "pool.members.mlp.loss_weight=2", "images.ipc=3", "images.ipc=5"]
    changed = apply_overrides(RICH, changes)
    assert changed.pool.main_index == 1
    assert changed.pool.members[1].loss_weight == 2
    assert changed.images.ipc == 5
    assert RICH.pool.main == "vit"


def test_a_network_given_by_its_name_alone_can_be_refined() -> None:
    changed = apply_overrides(RICH, ["pool.main=null", "pool.members=[mlp]", "pool.members.mlp.options.width=3"])
    assert changed.pool.members[0].options == {"width": 3}


def test_a_section_that_grew_can_be_taken_back() -> None:
    changes = ["evaluation.distillation.alpha=0.3", "evaluation.distillation=null"]
    assert apply_overrides(RICH, changes) == RICH


def test_no_assignments_change_nothing() -> None:
    assert apply_overrides(RICH, []) == RICH


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("images.ipc", "--set 'images.ipc': must be section.field=value"),
        ("=3", "must be section.field=value"),
        ("images.ipc=-3", "--set: images.ipc is -3: must be a whole number, 1 to 10000"),
        ("images.ipcc=3", "images.ipcc is not a known field: did you mean 'ipc'?"),
        ("image.ipc=3", "--set: image is not a known field: did you mean 'images'?"),
        ("images.ipc.x=3", "--set: images.ipc.x: images.ipc is 1, set it as a whole"),
        ("pool.members.third.width=3", "third.width is not a known field: did you mean 'pool.members.third.options.width'?"),
        (
            "pool.members.third.lerning_rate=3",
            "pool.members.third.lerning_rate is not a known field: did you mean 'learning_rate'?",
        ),
        ("evaluation.distillation.alpa=1", "--set: evaluation.distillation.alpa is not a known field: did you mean 'alpha'?"),
        ("tracking.uri.x=1", "--set: tracking.uri.x: tracking.uri is null, set it as a whole"),
        ("evaluation.protocol=foo", "evaluation.protocol is 'foo': must be one of dc, "),
        ("data.channels.0=3", "data.channels is 1, set it as a whole"),
        ("pool.members.9.learning_rate=1", "'9' must be an index, 0 to 2, or a name; known: convnet, third, vit"),
        ("pool.members.vitt.learning_rate=1", "or a name; did you mean 'vit'?"),
        ("matching.families.4=flip", "'4' must be an index, 0 to 1"),
        ("images.ipc=[", "must be valid YAML"),
        ("images.ipc=", "images.ipc is null"),
        ("balance.mode=off", "use none to switch it off"),
        ("seed..x=3", "seed"),
    ],
)
def test_assignments_that_do_not_fit(assignment: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        apply_overrides(RICH, [assignment])
    assert message in str(caught.value)


def test_flat_parameters() -> None:
    flat = flatten(RICH)
    assert flat["images.ipc"] == 1
    assert flat["pool.members.1.learning_rate"] == 0.1
    assert flat["pool.members.0.options.deep.x"] == 1e-5
    assert flat["pool.members.1.options"] == "{}"
    assert flat["matching.families"] == "[flip, crop]"
    assert flat["data.cache"] is None
    assert all(value is None or isinstance(value, str | int | float) for value in flat.values())


def test_flat_parameters_can_be_assigned() -> None:
    def text(value: Any) -> str:
        return value if isinstance(value, str) and value[:1] in "[{" else json.dumps(value)

    flat = {name: value for name, value in flatten(RICH).items() if not name.startswith(("pool", "evaluation"))}
    assert (
        apply_overrides(RunConfig(pool=RICH.pool, evaluation=RICH.evaluation), [f"{n}={text(v)}" for n, v in flat.items()])
        == RICH
    )
