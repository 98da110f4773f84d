"""What it means for a user's files that transformers builds no model of a config."""

from __future__ import annotations

import difflib
import textwrap
from pathlib import Path
from typing import Any

from bench.config.backbone import Backbone
from bench.config.kinds import KINDS
from bench.errors import nearest


def build_fault(error: Exception, backbone: Backbone, kind: str, config: Path | None = None) -> tuple[str, str]:
    """The key of the backbone's file that `error` is about, and a message.

    config: the config.json that was read; None where the fields are those of `config` in the backbone's file.
    """
    said, what = str(error).strip(), f"backbone {backbone.name!r} can't be built for {kind}"
    model_type = backbone.config.get("model_type")
    if config is None and said.startswith("Unrecognized model identifier"):
        return "config", f"{what}: transformers knows no model_type {model_type!r}{_close(model_type)}"
    if "attention implementation" in said:
        return "attention", f"{what}: its model has no attention {backbone.attention!r}: set `attention: eager`"
    if said.startswith("Unrecognized configuration class"):
        return "kinds", f"{what}: transformers has no {KINDS[kind].auto_class} for its config"
    shown = textwrap.shorten(f"{type(error).__name__}: {said}", 300)
    place = f"`config` of backbone {backbone.name!r}" if config is None else str(config)
    return "config", f"{place}: describes no model: {shown}"


def misspelled_field(backbone: Backbone) -> str | None:
    """What is wrong with a key of `config` that is all but the name of a field of that model's config; or None.

    transformers keeps any key and leaves the field at its default, so that another model would be counted. Keys that
    are like no field stay: a released config.json has some of its own.
    """
    from transformers import AutoConfig

    config = AutoConfig.for_model(backbone.config["model_type"])
    known = {*config.to_dict(), *config.attribute_map}
    for key in backbone.config:
        close = [] if key in known else difflib.get_close_matches(key, known - backbone.config.keys(), 1, 0.9)
        if close:
            return f"`config` of backbone {backbone.name!r}: its model has no {key!r} (did you mean {close[0]!r}?)"
    return None


def _close(model_type: Any) -> str:
    """A hint at the name that `model_type` may be meant to be; there are too many to list all."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    hint = nearest(str(model_type), CONFIG_MAPPING_NAMES)
    return hint if "did you mean" in hint else ""
