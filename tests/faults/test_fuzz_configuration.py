"""Configurations, spoilt at random: each is read or refused in one line, in bounded time and
memory.

``HMDC_FUZZ_CASES=5000 pytest tests/faults -k fuzz`` is the long mode.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from faults.fuzz import ODD_NUMBERS, ODD_TEXTS, fuzz, plain_values, reads_or_refuses, spoilt
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides, dump_config, flatten, load_config
from hmdc_ray.config.presets import PRESETS, preset

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),  # of Pillow and torch, about what they then refuse
]

CONFIGURATIONS = [dump_config(preset(name)) for name in PRESETS]
FIELDS = sorted(flatten(RunConfig()))
SNIPPETS = (
    "&a [*a]",
    "*a",
    "!!python/object:os.system x",
    "<<: {}",
    "? [a]\n: b",
    "0x" + "f" * 5000,
    "1:2:3",
    "2026-13-45",
    "|",
    "\t",
)


@st.composite
def yaml_texts(draw: st.DrawFn) -> bytes:
    """A configuration with some lines changed, and then perhaps some bytes."""
    lines = draw(st.sampled_from(CONFIGURATIONS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        name = lines[at].partition(":")[0]
        match draw(st.sampled_from(["value", "snippet", "remove", "double", "indent"])):
            case "value":
                value = draw(plain_values())
                with warnings.catch_warnings():
                    lines[at] = f"{name}: " + yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
            case "snippet":
                lines[at] = f"{name}: {draw(st.sampled_from(SNIPPETS))}"
            case "remove":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "indent":
                lines[at] = draw(st.sampled_from(["  ", "\t", "- "])) + lines[at]
        if not lines:
            break
    text = "\n".join(lines).encode(errors="surrogateescape")
    return draw(spoilt(text)) if draw(st.booleans()) else text


@fuzz
@given(text=yaml_texts())
def test_configuration_files(text: bytes, scratch: Path) -> None:
    file = scratch / "run.yaml"
    file.write_bytes(text)
    reads_or_refuses(lambda: dump_config(load_config(file)))


@fuzz
@given(
    name=st.sampled_from(FIELDS) | st.sampled_from(FIELDS).flatmap(lambda field: spoilt(field.encode()).map(repr)) | st.text(),
    value=st.sampled_from([*SNIPPETS, *ODD_TEXTS, *map(str, ODD_NUMBERS)])
    | plain_values().map(lambda value: json.dumps(value)),
)
def test_assignments(name: str, value: str) -> None:
    reads_or_refuses(lambda: dump_config(apply_overrides(RunConfig(), [f"{name}={value}"])))
