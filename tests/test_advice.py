"""Every message that says what to do is taken at its word: what it names is done, and must work."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from whole_runs import CommandLine, condense_here, tiniest, tree, without_ray, write_config, write_images

from benchmarks.bench.configuration import STAND_IN, bench_config
from benchmarks.bench.trace import check_trace
from hmdc_ray.condensed import load_condensed, save_condensed
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides, load_config
from hmdc_ray.data.arrays import TORCHVISION
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError
from hmdc_ray.models import build
from hmdc_ray.models.weights import save_weights
from hmdc_ray.pretrain import Pretrained
from hmdc_ray.pretrain.plan import make_plan
from hmdc_ray.pretrain.report import TrainedNetwork
from hmdc_ray.profiling.capacity import Cluster, count_nodes
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.resume import require_unused
from hmdc_ray.run.tracking import check_tracking
from hmdc_ray.search.settings import SearchSettings
from hmdc_ray.search.spaces import open_space
from hmdc_ray.seeding import Key

NETWORKS = """
from torch import nn

def plain(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a configuration, tiny.yaml, its run, run/, data and networks of a user's
    own."""
    folder = tmp_path_factory.mktemp("finished")
    config = tiniest(folder, schedule={"iterations": 2, "steps": 1})
    write_config(folder / "tiny.yaml", config)
    (folder / "networks_of_mine.py").write_text(NETWORKS)
    condense_here(config, folder / "run")
    before = tree(folder / "run")
    yield folder
    assert tree(folder / "run") == before, "a test changed the run that others use"


@pytest.fixture
def hmdc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], finished: Path, tmp_path: Path) -> CommandLine:
    """The command line beside copies of the finished run and its configuration, with a pool that
    needs no Ray."""
    without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("tiny.yaml", "networks_of_mine.py"):
        shutil.copy(finished / name, tmp_path)
    shutil.copytree(finished / "run", tmp_path / "run")
    return CommandLine(monkeypatch, capsys)


def refused(hmdc: CommandLine, *words: object) -> str:
    """The one line of a command that must be refused."""
    outcome = hmdc(*words)
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    return line.removeprefix("error: ")


def advised(pattern: str, message: str) -> tuple[str, ...]:
    """What the message names, in the groups of the pattern."""
    found = re.search(pattern, message)
    assert found is not None, message
    return found.groups()


def follow(hmdc: CommandLine, command: str, *more: object) -> str:
    """Run a command as a message shows it."""
    name, *words = shlex.split(command)
    assert name == "hmdc"
    return hmdc.succeeds(*words, *more)


# --set: what is wrong, what the message says of it, and what is set instead; {0}, {1} are what it
# names.

BOTH = "pool.members.convnet.probability={0}", "pool.members.lenet.probability={0}"
VIT = "pool.members=[vit, lenet]"
RESNET = "pool.members=[{architecture: resnet18, options: {width: 4}}, mlp]"
SETTINGS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "section": (("imags.ipc=1",), r"did you mean '(\w+)'\?", ("{0}.ipc=1",)),
    "field": (("images.ipcs=1",), r"did you mean '(\w+)'\?", ("images.{0}=1",)),
    "option": (("pool.members.convnet.width=4",), r"did you mean '([\w.]+)'\?", ("{0}=4",)),
    "option of a network": (
        ("pool.members.convnet.options.widht=4",),
        r"did you mean '(\w+)'\?",
        ("pool.members.convnet.options={{0}: 4}",),
    ),
    "member": (("pool.members.lenett.replicas=1",), r"did you mean '(\w+)'\?", ("pool.members.{0}.replicas=1",)),
    "architecture": (("pool.members=[convnet, lennet]",), r"did you mean '(\w+)'\?", ("pool.members=[convnet, {0}]",)),
    "choice": (("evaluation.baselines=randm",), r"did you mean '(\w+)'\?", ("evaluation.baselines={0}",)),
    "statistics": (("data.statistics=mnits",), r"did you mean '(\w+)'\?", ("data.statistics={0}",)),
    "family": (("matching.families=[crops]",), r"did you mean '(\w+)'\?", ("matching.families=[{0}]",)),
    "main": (("pool.main=none",), r"known are (\w+)", ("pool.main={0}",)),
    "part of a list": (("data.image_size.0=16",), r"(data\.image_size) is null, (set it as a whole)", ("{0}=[16, 16]",)),
    "no =": (("ipc",), r"such as (images\.ipc=10)", ("{0}", "images.initialise=noise")),
    "switched off": (("matching.augmentation=off",), r"use (none) to switch it off", ("matching.augmentation={0}",)),
    "one probability": (
        ("pool.members.convnet.probability=0.5",),
        r"(give it to all members)",
        (BOTH[0].format(0.5), BOTH[1].format(0.5)),
    ),
    "sum": ((BOTH[0].format(0.4), BOTH[1].format(0.4)), r"sum to 0\.8: must be (1)", tuple(each.format(0.5) for each in BOTH)),
    "more drawn than can be": (
        (BOTH[0].format(1), BOTH[1].format(0), "pool.active=2"),
        r"only (\d) of 2 members have a probability above 0: draw fewer",
        (BOTH[0].format(1), BOTH[1].format(0), "pool.active={0}"),
    ),
    "twice": (
        ("pool.members=[lenet, lenet]",),
        r"give each its own '(name)'",
        ("pool.members=[lenet, {architecture: lenet, {0}: second}]",),
    ),
    "reserved": (
        ("pool.members.lenet.name=distillation",),
        r"give it another '(name)'",
        ("pool.members.lenet.{0}=other",),
    ),
    "replicas": (
        ("pool.members.lenet.replicas=9",),
        r"has (\d) classes, which replicas share: use at most as many",
        ("pool.members.lenet.replicas={0}",),
    ),
    "shards": (("cluster.server_shards=9",), r"has (\d) classes, .* at most as many", ("cluster.server_shards={0}",)),
    "start": (
        ("images.ipc=90",),
        r"the largest possible ipc is (\d+)\): use fewer",
        ("images.ipc={0}",),
    ),
    "start from noise": (("images.ipc=90",), r"or initialise '(\w+)'", ("images.ipc=90", "images.initialise={0}")),
    "weights": (
        ("pool.members.lenet.weights=pretrained",),
        r"must be (scratch) or checkpoint:PATH",
        ("pool.members.lenet.weights={0}",),
    ),
    "small images": (
        ("data.image_size=[8, 8]",),
        r"set (data\.image_size), such as (\[\d+, \d+\])",
        ("{0}={1}",),
    ),
    "small images for five poolings": (
        ("pool.members=[vgg11, mlp]", "evaluation.students=[mlp]", "data.image_size=[4, 16]"),
        r"set (data\.image_size), such as (\[\d+, \d+\])",
        ("pool.members=[vgg11, mlp]", "evaluation.students=[mlp]", "{0}={1}"),
    ),
    "patches": (
        (VIT, "data.image_size=[18, 21]"),
        r"set (data\.image_size), such as (\[\d+, \d+\])",
        (VIT, "{0}={1}"),
    ),
    "another patch size": (
        (VIT, "data.image_size=[18, 21]"),
        r"or another (patch_size)",
        (VIT, "data.image_size=[18, 21]", "pool.members.vit.options.{0}=3"),
    ),
    "heads": (
        (VIT, "pool.members.vit.options={width: 10, heads: 4}"),
        r"must be a multiple of heads, which is (\d)",
        (VIT, "pool.members.vit.options={width: {0}0, heads: {0}}"),
    ),
    "norm of one pixel": (
        (RESNET, "data.image_size=[8, 8]"),
        r"(use larger images) or another norm",
        (RESNET, "data.image_size=[16, 16]"),
    ),
    "another norm": (
        (RESNET, "data.image_size=[8, 8]"),
        r"use larger images or another (norm)",
        (RESNET, "data.image_size=[8, 8]", "pool.members.resnet18.options.{0}=batch"),
    ),
    "groups": (
        ("pool.members.convnet.options={width: 6, norm: group}",),
        r"multiple of (\d)",
        ("pool.members.convnet.options={width: {0}, norm: group}",),
    ),
    "no taps": (
        ("pool.members=[lenet, 'networks_of_mine:plain']", "pool.members.1.name=plain"),
        r"set (mutual_distillation) to (false)",
        ("pool.members=[lenet, 'networks_of_mine:plain']", "matching.{0}={1}"),
    ),
    "a function of mine": (
        ("pool.members=[lenet, 'networks_of_mine:plane']",),
        r"did you mean '(\w+)'\?",
        ("pool.members=[lenet, 'networks_of_mine:{0}']", "matching.mutual_distillation=false"),
    ),
    "temperatures": (
        ("evaluation.distillation.temperatures=[1, 2]", "data.validation_fraction=0"),
        r"(give one temperature)",
        ("evaluation.distillation.temperatures=[2]", "data.validation_fraction=0"),
    ),
    "temperatures on few images": (
        ("evaluation.distillation.temperatures=[1, 2]", "data.validation_fraction=0.01"),
        r"set a larger (data\.validation_fraction)",
        ("evaluation.distillation.temperatures=[1, 2]", "{0}=0.2"),
    ),
    "robust": (
        ("evaluation.augmentation_robust=true", "evaluation.baselines=none"),
        r"use (random) or both",
        ("evaluation.augmentation_robust=true", "evaluation.baselines={0}"),
    ),
    "robust and taught": (
        ("evaluation.augmentation_robust=true", "evaluation.distillation={}"),
        r"set (distillation) to (null)",
        ("evaluation.augmentation_robust=true", "evaluation.{0}={1}"),
    ),
}


def filled(text: str, named: tuple[str, ...]) -> str:
    for place, name in enumerate(named):
        text = text.replace(f"{{{place}}}", name)
    return text


@pytest.mark.parametrize("case", SETTINGS)
def test_what_a_refused_setting_should_be_is_accepted(hmdc: CommandLine, case: str) -> None:
    wrong, pattern, right = SETTINGS[case]

    def words(assignments: tuple[str, ...]) -> list[str]:
        return ["condense", "tiny.yaml", "--dry-run", *(word for each in assignments for word in ("--set", each))]

    named = advised(pattern, refused(hmdc, *words(wrong)))
    assert "evaluation" in hmdc.succeeds(*words(tuple(filled(each, named) for each in right)))


def test_a_preset_and_a_command_that_are_misspelt(hmdc: CommandLine) -> None:
    (name,) = advised(r"did you mean '([\w-]+)'\?", refused(hmdc, "presets", "model-pol"))
    assert "name: model-pool" in hmdc.succeeds("presets", name, "--yaml")
    (command,) = advised(r"such as: (hmdc .*)$", refused(hmdc, "presets", "--yaml"))
    assert "name: digits" in follow(hmdc, command)
    (command,) = advised(r"see '(.*)'$", refused(hmdc, "condense", "digits", "--dry-runn"))
    assert "--dry-run" in follow(hmdc, "hmdc" + command[command.index(" condense") :])


def test_the_built_in_digits_are_named_and_replaced(hmdc: CommandLine, tmp_path: Path) -> None:
    few = ("--set", "evaluation.students=[mlp]", "--set", f"data.cache={tmp_path / 'cache'}")
    first, *_ = hmdc.succeeds("condense", "dc", "--dry-run", *few).splitlines()
    assert first == "data        the built-in digits (1,797 images of 16x16); give --data for yours"
    (option,) = advised(r"give (--data) for yours", first)
    write_images(tmp_path / "mine.parquet", [0, 1, 2] * 8, side=16)
    for source in ("mine.parquet", "digits"):
        assert "built-in" not in hmdc.succeeds("condense", "dc", option, source, "--dry-run", *few)
    assert "built-in" not in hmdc.succeeds("condense", "digits", "--dry-run", *few)
    assert "built-in" not in hmdc.succeeds("condense", "dc", "--dry-run", "--set", "data.source=mine.parquet", *few)


@pytest.mark.parametrize("side", [16, 28, 30])
def test_images_in_a_configurations_place(hmdc: CommandLine, tmp_path: Path, side: int) -> None:
    """The commands that the messages show, one after the other, to a plan."""
    for label in ("a cat", "a dog"):
        (tmp_path / "my photos" / label).mkdir(parents=True)
        for index in range(8):
            pixels = np.full((side, side, 3), 30 * index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my photos" / label / f"{index}.png")
    message = refused(hmdc, "condense", "my photos")
    prepare, option = advised(r"as in: (hmdc prepare .* OUT), then named with (--data) OUT", message)
    (following,) = advised(r"next +(hmdc condense PRESET .* --dry-run)", follow(hmdc, prepare))
    few = ("--set", "evaluation.students=[mlp]", "--set", f"data.cache={tmp_path / 'cache'}")
    assert "2: a cat, a dog" in follow(hmdc, following.replace("PRESET", "dc"), *few)
    (shown,) = advised(r"as in: (hmdc condense .*)$", refused(hmdc, "condense", "OUT"))
    assert option in shown and "2: a cat, a dog" in follow(hmdc, shown, "--dry-run", *few)


# The run's folder


def test_a_folder_that_holds_a_run(hmdc: CommandLine, tmp_path: Path) -> None:
    message = refused(hmdc, "condense", "tiny.yaml", "--output", "run")
    resume, overwrite, output = advised(r"use (--resume) to .*, (--overwrite) to replace it, or another (--output)", message)
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", resume)
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", overwrite)
    assert output == "--output"  # which every other test uses
    both = refused(hmdc, "condense", "tiny.yaml", "--output", "run", "--resume", "--overwrite")
    assert "use one of them" in both


def test_a_folder_that_holds_no_run(hmdc: CommandLine, tmp_path: Path) -> None:
    message = refused(hmdc, "condense", "tiny.yaml", "--output", "new", "--resume")
    assert "leave out --resume, or name its folder" in message
    hmdc.succeeds("condense", "tiny.yaml", "--output", "new")
    RunFolder.check(tmp_path / "run", False, True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    for words in ((), ("--overwrite",)):
        message = refused(hmdc, "condense", "tiny.yaml", "--output", "full", *words)
        assert advised(r"(--output)$", message)
        RunFolder.check(tmp_path / "elsewhere", bool(words), False)


def test_a_run_that_is_resumed_otherwise(hmdc: CommandLine) -> None:
    message = refused(hmdc, "condense", "tiny.yaml", "--output", "run", "--resume", "--seed", 6)
    name, value, overwrite, output = advised(
        r"(\w+) is 6, but .* was made with (\d+): resume with the same value, or start anew with (--\w+) or another (--\w+)$",
        message,
    )
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", "--resume", "--set", f"{name}={value}")
    hmdc.succeeds("condense", "tiny.yaml", output, "anew", "--seed", 6)
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", overwrite, "--seed", 6)


def test_fewer_steps_than_are_done(hmdc: CommandLine) -> None:
    words = ("condense", "tiny.yaml", "--output", "run", "--resume", "--set")
    (done,) = advised(r"less than the (\d+) steps .*: ask for more", refused(hmdc, *words, "schedule.iterations=1"))
    hmdc.succeeds(*words, f"schedule.iterations={done}")


def test_a_run_whose_checkpoints_are_broken(hmdc: CommandLine, tmp_path: Path) -> None:
    for file in (tmp_path / "run" / "checkpoint").iterdir():
        file.write_bytes(b"broken")
    message = refused(hmdc, "condense", "tiny.yaml", "--output", "run", "--resume")
    overwrite, output = advised(r"start anew with (--overwrite) or another (--output)$", message)
    hmdc.succeeds("condense", "tiny.yaml", output, "anew")
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", overwrite)


def test_a_run_that_was_stopped(hmdc: CommandLine, tmp_path: Path) -> None:
    shutil.move("run", "my run")
    (tmp_path / "my run" / "evaluation.json").unlink()
    (command,) = advised(r"resume +(hmdc condense .*?) *\n", hmdc.succeeds("status", "my run") + "\n")
    follow(hmdc, command)
    assert "finished" in hmdc.succeeds("status", "my run")
    for wrong in ("my run/condensed.parquet", "nowhere"):
        assert "give the folder of a run" in refused(hmdc, "status", wrong)
    (tmp_path / "empty").mkdir()
    assert "give the folder of a run, or one with runs in it" in refused(hmdc, "status", "empty")
    assert "tiny, finished" in hmdc.succeeds("status", ".")


def test_checkpoints_of_another_run(hmdc: CommandLine, tmp_path: Path) -> None:
    place = f"schedule.checkpoint_uri={tmp_path / 'kept'}"
    words = ("condense", "tiny.yaml", "--set", place, "--output")
    hmdc.succeeds(*words, "first")
    message = refused(hmdc, *words, "second")
    assert "resume it with the --output that it had, use --overwrite to replace it, or name an empty folder" in message
    hmdc.succeeds(*words, "first", "--resume")
    require_unused(tmp_path / "second", apply_overrides(load_config(tmp_path / "tiny.yaml"), [f"{place}-2"]))
    hmdc.succeeds(*words, "second", "--overwrite")


def test_an_address_that_cannot_be_opened(finished: Path, tmp_path: Path) -> None:
    config = tiniest(finished)
    with pytest.raises(InputError) as caught:
        require_unused(tmp_path, apply_overrides(config, ["schedule.checkpoint_uri=nosuch://folder"]))
    (address,) = advised(r"such as (file:///folder),", str(caught.value))
    uri = address.replace("/folder", str(tmp_path / "kept"))
    require_unused(tmp_path, apply_overrides(config, [f"schedule.checkpoint_uri={uri}"]))


@pytest.mark.parametrize("uri", ["sqlite:///nowhere/mlflow.db", "http://127.0.0.1:9"])
def test_a_store_that_does_not_answer(finished: Path, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = tiniest(finished, tracking={"enabled": True, "uri": uri})
    with pytest.raises(InputError) as caught:
        check_tracking(config.tracking, tmp_path)
    field, variable, nothing = advised(r"address \(([\w.]+) or (\w+)\), or track nothing \(([\w.]+=false)\)", str(caught.value))
    check_tracking(apply_overrides(config, [nothing]).tracking, tmp_path)
    check_tracking(apply_overrides(config, [f"{field}=sqlite:///{tmp_path}/mlflow.db"]).tracking, tmp_path)
    monkeypatch.setenv(variable, f"sqlite:///{tmp_path}/mlflow.db")
    check_tracking(apply_overrides(config, [f"{field}=null"]).tracking, tmp_path)


# evaluate


def test_an_evaluation_of_what_is_no_set(hmdc: CommandLine) -> None:
    (name,) = advised(r"give a run's folder or its ([\w.]+)$", refused(hmdc, "evaluate", "runn"))
    for place in ("run", f"run/{name}"):
        hmdc.succeeds("evaluate", place, "--architectures", "mlp", "--baselines", "none")
    assert "give different condensed sets" in refused(hmdc, "evaluate", "run", "run")
    (names,) = advised(r"such as (\w+,\w+)$", refused(hmdc, "evaluate", "run", "--architectures", "mlp,,"))
    assert names.partition(",")[0] in hmdc.succeeds("evaluate", "run", "--architectures", names, "--baselines", "none")


def test_a_set_that_does_not_fit_its_data(hmdc: CommandLine, tmp_path: Path) -> None:
    write_images(tmp_path / "larger.parquet", [0, 1, 2] * 12, side=20, channels=3)
    words = ("evaluate", "run", "--data", "larger.parquet", "--architectures", "mlp", "--baselines", "none")
    channels, size = advised(r"set (data\.channels) and (data\.image_size)$", refused(hmdc, *words))
    hmdc.succeeds(*words, "--set", f"{channels}=1", "--set", f"{size}=[16, 16]")


def test_a_set_that_does_not_say_its_data_or_asks_for_code(hmdc: CommandLine, tmp_path: Path) -> None:
    condensed = load_condensed(tmp_path / "run")
    object.__setattr__(condensed, "config", None)
    save_condensed(tmp_path / "bare.parquet", condensed)
    (option,) = advised(r"name it with (--data)", refused(hmdc, "evaluate", "bare.parquet", "--architectures", "mlp"))
    words = (option, load_config(tmp_path / "run").data.source, "--architectures", "mlp", "--set", "evaluation.epochs=1")
    hmdc.succeeds("evaluate", "bare.parquet", *words, "--baselines", "none", "--seeds", 1)
    hmdc.succeeds("condense", "tiny.yaml", "--output", "coded", "--set", "evaluation.students=['networks_of_mine:plain']")
    (words_,) = advised(r"name it with (--architectures .*)$", refused(hmdc, "evaluate", "coded", "--baselines", "none"))
    assert "plain" in hmdc.succeeds("evaluate", "coded", *words_.split(), "--baselines", "none")


# pretrain, tune, plan: what is refused before Ray is needed


def test_networks_to_pretrain(finished: Path) -> None:
    redrawn = [{"architecture": "convnet", "options": {"width": 4}, "random_options": {"depth": [1, 2]}}]
    config = tiniest(finished, pool={"members": redrawn}, evaluation={"students": []})
    info = open_dataset(config.data).info

    def refusal(config: RunConfig, names: str | None) -> str:
        with pytest.raises(InputError) as caught:
            make_plan(config, info, names, "validation", 60.0)
        return str(caught.value)

    assert "name what to train with --architectures" in refusal(config, None)
    assert [each.name for each in make_plan(config, info, "mlp", "validation", 60.0).networks] == ["mlp"]
    assert "leave it out, or give it fixed 'options'" in refusal(config, "convnet,mlp")
    fixed = apply_overrides(config, ["pool.members.convnet.random_options={}"])
    assert make_plan(fixed, info, "convnet,mlp", "validation", 60.0)
    (names,) = advised(r"such as (\w+,\w+)$", refusal(fixed, ","))
    assert make_plan(fixed, info, names, "validation", 60.0)
    assert "name each network once" in refusal(fixed, "mlp,mlp")
    none = apply_overrides(config, ["data.validation_fraction=0"])
    with pytest.raises(InputError) as caught:
        make_plan(none, open_dataset(none.data).info, "mlp", "validation", 60.0)
    (field,) = advised(r"set a larger ([\w.]+)$", str(caught.value))
    more = apply_overrides(none, [f"{field}=0.2"])
    assert make_plan(more, open_dataset(more.data).info, "mlp", "validation", 60.0)


def test_what_comes_after_a_pretraining(hmdc: CommandLine, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that is printed at the end has the options with which the weights fit; the training
    itself needs Ray."""

    def pretrained(config: RunConfig, folder: Path, **_: object) -> Pretrained:
        info, (member, *_others) = open_dataset(config.data).info, config.pool.members
        network = build(member.architecture, member.options, info.shape, len(info.class_names), Key(0, "network"))
        folder.mkdir(parents=True)
        save_weights(network, folder / f"{member.name}.safetensors")
        trained = TrainedNetwork(member.name, member.architecture, member.options, "scratch", 1, 1, 0.1, 0.5)
        fields = {"split": "validation", "seed": 0, "workers": 1, "data_source": "", "data_fingerprint": "", "version": "0"}
        return Pretrained(networks=(trained,), **fields)  # type: ignore[arg-type]

    monkeypatch.setattr("hmdc_ray.pretrain.pretrain", pretrained)
    wider = ("--set", "pool.members.convnet.options.width=12")
    shown = hmdc.succeeds("pretrain", "tiny.yaml", "--output", "my weights", *wider)
    (command,) = advised(r"next +(hmdc condense .*)\n", shown)
    assert "member convnet" in follow(hmdc, command, "--dry-run")


@pytest.mark.parametrize(
    ("wrong", "pattern", "right"),
    [
        ({"multi_objective": True, "search": "random"}, r"needs --(search) (optuna)", {"scheduler": "none"}),
        ({"multi_objective": True, "search": "optuna"}, r"needs --(scheduler) (none)", {}),
        ({"scheduler": "ashaa"}, r"--(scheduler) .* did you mean '(\w+)'", {}),
        ({"search": "optun"}, r"--(search) .* did you mean '(\w+)'", {}),
        ({"trials": 0}, r"--(trials) is 0: must be at least (\d)", {}),
    ],
)
def test_settings_of_a_search(wrong: dict[str, object], pattern: str, right: dict[str, object]) -> None:
    def make(**changes: object) -> SearchSettings:
        settings = SearchSettings(**{"space": "smoke", **wrong, **changes})  # type: ignore[arg-type]
        settings.check()
        return settings

    with pytest.raises(InputError) as caught:
        make(**right)
    name, value = advised(pattern, str(caught.value))
    assert make(**right, **{name: int(value) if value.isdecimal() else value})


def test_a_space_that_is_misspelt(finished: Path) -> None:
    base = tiniest(finished)
    with pytest.raises(InputError) as caught:
        open_space("loss_weight", base)
    (name,) = advised(r"did you mean '(\w+)'\?", str(caught.value))
    assert open_space(name, base)


def test_a_node_with_too_few_gpus() -> None:
    with pytest.raises(InputError) as caught:
        count_nodes([2.0], Cluster(1, 8, 1.0))
    (least,) = advised(r"asks for num_gpus (\d+): must be at least as many", str(caught.value))
    assert count_nodes([2.0], Cluster(int(least), 8, 1.0))


# bench


def test_the_bench_without_data(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        bench_config(str(tmp_path / "none"), 1, [])
    (name,) = advised(r"'hmdc prepare torchvision:(\w+) DIR' writes, or leave it out", str(caught.value))
    assert name in TORCHVISION
    info = open_dataset(STAND_IN.model_copy(update={"cache": str(tmp_path)})).info
    assert (str(info.shape), len(info.class_names)) == ("3x32x32", 10)
    assert bench_config(None, 1, []).data == STAND_IN


def test_a_trace_has_an_ending_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_trace(tmp_path / "step.txt")
    for ending in advised(r"must end in (\S+) or (\S+)$", str(caught.value)):
        check_trace(tmp_path / f"step{ending}")


def test_a_module_is_found_where_the_message_says(hmdc: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("condense", "tiny.yaml", "--dry-run", "--set", "matching.mutual_distillation=false", "--set")
    (folder,) = advised(r"must be installed or in (\S+)$", refused(hmdc, *words, "pool.members=[lenet, 'not_yet:plain']"))
    shutil.copy("networks_of_mine.py", Path(folder) / "not_yet.py")
    hmdc.succeeds(*words, "pool.members=[lenet, 'not_yet:plain']")


def test_a_folder_in_use_is_free_when_its_run_has_ended(tmp_path: Path) -> None:
    held = RunFolder.claim(tmp_path / "run", overwrite=False, resume=False)
    with pytest.raises(InputError, match=f"process {os.getpid()}: wait until that run ends, or choose another"):
        RunFolder.claim(tmp_path / "run", overwrite=False, resume=False)
    held.release()
    RunFolder.claim(tmp_path / "run", overwrite=False, resume=False).release()
