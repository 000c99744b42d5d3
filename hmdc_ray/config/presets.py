"""Configurations by name. Each preset is a short function; ``hmdc presets`` shows its first
docstring line.

Every preset takes the number of images per class, because the schedules of some depend on it. None
names a data set: they start with the built-in digits, and ``--data`` brings others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from hmdc_ray.config import (
    BalanceConfig,
    ClusterConfig,
    DataConfig,
    EvaluationConfig,
    ImagesConfig,
    MatchingConfig,
    MemberConfig,
    PoolConfig,
    RunConfig,
    ScheduleConfig,
    StudentConfig,
)
from hmdc_ray.errors import InputError, closest

LOOPS: Mapping[int, tuple[int, int]] = MappingProxyType(
    {1: (1, 10), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
)
"""Steps of an iteration, and epochs on the synthetic images after each, by images per class (DC's
released code)."""

RANDOM_CONVNET: Mapping[str, list[Any]] = MappingProxyType(
    {
        "activation": ["sigmoid", "relu", "leakyrelu", "swish"],
        "norm": ["batch", "layer", "instance", "group"],
        "pooling": ["max", "avg"],
    }
)
"""Options that the random ConvNet of the model pool redraws (Zhou et al., arXiv 2402.13007, section
3)."""

MODEL_POOL_WARMUP = 501
"""Iterations 0 to 500 of the model pool train the main member only."""


def digits(ipc: int = 1) -> RunConfig:
    """Three networks, balanced and distilled, on the built-in 16x16 digits: one image per class."""
    # One thread and no GPU, whatever there is: its numbers are to be the same on every machine, and
    # networks this small gain nothing.
    return RunConfig(
        name="digits",
        data=DataConfig(source="digits"),
        pool=PoolConfig(
            members=(
                MemberConfig(architecture="convnet", options={"width": 32}, num_gpus=0),
                MemberConfig(architecture="vit", options={"patch_size": 8, "depth": 2}, num_gpus=0),
                MemberConfig(architecture="lenet", num_gpus=0),
            )
        ),
        matching=MatchingConfig(
            metric="cosine",
            mutual_distillation=True,
            aligner_images=500,
            real_batch=32,
            families=("brightness", "saturation", "contrast", "crop", "scale", "rotate", "cutout"),
        ),
        balance=BalanceConfig(mode="ema", period=1),
        images=ImagesConfig(ipc=ipc, initialise="real", learning_rate=0.1),
        schedule=ScheduleConfig(iterations=24, steps=1),
        evaluation=EvaluationConfig(
            students=(
                StudentConfig(architecture="convnet", options={"width": 32}),
                StudentConfig(architecture="vit", options={"patch_size": 8, "depth": 2}),
                StudentConfig(architecture="lenet"),
                StudentConfig(architecture="mlp"),
                StudentConfig(architecture="alexnet", options={"width": 32}),
            ),
            seeds=3,
            num_gpus=0,
            threads=1,
        ),
        cluster=ClusterConfig(threads=1),
    )


def dc(ipc: int = 1) -> RunConfig:
    """Dataset condensation with gradient matching (Zhao et al., arXiv 2006.05929): one ConvNet."""
    return _gradient_matching("dc", PoolConfig(members=(MemberConfig(architecture="convnet", learning_rate=0.01),)), ipc)


def model_pool(ipc: int = 1) -> RunConfig:
    """Model pool (Zhou et al., arXiv 2402.13007): a ConvNet, and now and then one of random
    layers."""
    return _gradient_matching("model-pool", _convnet_pool(depth=3), ipc)


def model_pool_released(ipc: int = 1) -> RunConfig:
    """Model pool as its authors' code runs it: the random ConvNet has one block instead of
    three."""
    return _gradient_matching("model-pool-released", _convnet_pool(depth=1), ipc)


def hmdc(ipc: int = 10) -> RunConfig:
    """HMDC (Moon et al., arXiv 2409.14538): ConvNet and small ViT, balanced and distilled, at the
    images' own size."""
    vit = MemberConfig(architecture="vit", learning_rate=1e-3)
    return _heterogeneous("hmdc", vit, ipc, ("convnet", "vit", "mlp", "lenet", "resnet18"))


def hmdc_224(ipc: int = 10) -> RunConfig:
    """HMDC with the networks of its paper: ViT-Tiny of timm, pretrained, which sees the images
    enlarged to 224x224."""
    vit = MemberConfig(name="vit-tiny", architecture="timm:vit_tiny_patch16_224", weights="pretrained", learning_rate=1e-3)
    students = {
        "resnet18": "timm:resnet18",
        "resnet50": "timm:resnet50",
        "resnet101": "timm:resnet101",
        "vit-tiny": "timm:vit_tiny_patch16_224",
        "vit-small": "timm:vit_small_patch16_224",
        "vit-base": "timm:vit_base_patch16_224",
    }
    pretrained = [StudentConfig(name=name, architecture=timm, weights="pretrained") for name, timm in students.items()]
    config = _heterogeneous("hmdc-224", vit, ipc, ())
    evaluation = config.evaluation.model_copy(update={"students": (StudentConfig(architecture="convnet"), *pretrained)})
    return config.model_copy(update={"evaluation": evaluation})


def pool(ipc: int = 1) -> RunConfig:
    """Four different networks, all balanced in every step, without distillation, which gained
    nothing: our own recipe."""
    members = ("convnet", "lenet", "alexnet", "vit")
    return RunConfig(
        name="pool",
        pool=PoolConfig(members=tuple(MemberConfig(architecture=name, probability=0.25) for name in members)),
        matching=MatchingConfig(metric="cosine", real_batch=128),
        balance=BalanceConfig(mode="ema", period=1),
        images=ImagesConfig(ipc=ipc, initialise="real", learning_rate=0.1),
        schedule=_loops(ipc, iterations=1000),
        evaluation=_students((*members, "mlp", "resnet18")),
    )


def _gradient_matching(name: str, members: PoolConfig, ipc: int) -> RunConfig:
    return RunConfig(
        name=name,
        pool=members,
        matching=MatchingConfig(metric="cosine", real_batch=256),
        images=ImagesConfig(ipc=ipc, initialise="noise", learning_rate=0.1, momentum=0.5),
        schedule=_loops(ipc, iterations=1000),
        evaluation=_students(("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18")),
    )


def _convnet_pool(depth: int) -> PoolConfig:
    return PoolConfig(
        members=(
            MemberConfig(architecture="convnet", probability=0.9, learning_rate=0.01),
            MemberConfig(
                name="random-convnet",
                architecture="convnet",
                options={"width": 128, "depth": depth},
                random_options=dict(RANDOM_CONVNET),
                probability=0.1,
                learning_rate=0.01,
            ),
        ),
        active=1,
        main="convnet",
        warmup=MODEL_POOL_WARMUP,
    )


def _heterogeneous(name: str, partner: MemberConfig, ipc: int, students: tuple[str, ...]) -> RunConfig:
    return RunConfig(
        name=name,
        pool=PoolConfig(members=(MemberConfig(architecture="convnet", learning_rate=1e-2, cutmix=True), partner)),
        matching=MatchingConfig(
            metric="mse",
            mutual_distillation=True,
            resize="bilinear",
            sampler="kmeans",
            sampler_period=10,
            real_batch=128,
            augmentation="idc",
        ),
        balance=BalanceConfig(mode="sum", period=10),
        images=ImagesConfig(
            ipc=ipc, formation=2, initialise="kmeans", learning_rate=5e-3, momentum=0.5, normalise="max", clip=True
        ),
        schedule=ScheduleConfig(iterations=100, steps=100, training="real", real_images=2000, batch=128),
        evaluation=_students(students, protocol="hmdc"),
    )


def _loops(ipc: int, iterations: int) -> ScheduleConfig:
    """The schedule of gradient matching; between two numbers of the table, that of the smaller
    one."""
    known = sorted(LOOPS)
    steps, epochs = LOOPS[known[max(0, bisect_right(known, ipc) - 1)]]
    return ScheduleConfig(iterations=iterations, steps=steps, training="synthetic", inner_epochs=epochs, batch=256)


def _students(names: tuple[str, ...], protocol: Any = "dc") -> EvaluationConfig:
    return EvaluationConfig(protocol=protocol, students=tuple(StudentConfig(architecture=name) for name in names))


PRESETS: Mapping[str, Callable[..., RunConfig]] = MappingProxyType(
    {
        "digits": digits,
        "dc": dc,
        "model-pool": model_pool,
        "model-pool-released": model_pool_released,
        "hmdc": hmdc,
        "hmdc-224": hmdc_224,
        "pool": pool,
    }
)
"""Presets by name."""


def preset(name: str, ipc: int | None = None) -> RunConfig:
    """The configuration of a preset.

    Args:
        name: name of the preset, one of :data:`PRESETS`.
        ipc: images per class; None: the preset's own.

    Raises:
        InputError: there is no preset of this name.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} does not exist: {closest(name, PRESETS)}")
    make = PRESETS[name]
    return make() if ipc is None else make(ipc)


def describe(name: str) -> str:
    """One line on a preset."""
    return " ".join((PRESETS[name].__doc__ or "").partition("\n\n")[0].split())
