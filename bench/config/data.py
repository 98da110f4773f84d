"""Data: where the rows of a task are, and how they are read. The block `data` of a task's file."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from bench.config.types import CommitHash, Frozen, HubId, KeyName, Positive
from bench.errors import nearest


def _not_the_training_rows(name: str) -> str:
    if name == "train":
        raise ValueError(
            "the training rows are called so. The key is our name of an evaluation split, the value the set's: "
            "write `validation: train` to evaluate on a split that the set calls train"
        )
    return name


def _text_encoding(name: str) -> str:
    """`name` as Python writes it, so that two spellings of one encoding are one value."""
    try:
        "".encode(name)
    except LookupError as error:
        raise ValueError(f"expected an encoding such as utf-8, latin-1 or cp1252, found {name!r}") from error
    return codecs.lookup(name).name


def _path(path: str) -> str:
    if not path or path != path.strip():
        raise ValueError(f"expected a path, found {path!r}")
    return path


SplitName = Annotated[KeyName, AfterValidator(_not_the_training_rows)]
Paths = Annotated[
    list[Annotated[str, AfterValidator(_path)]],
    BeforeValidator(lambda paths: [paths] if isinstance(paths, str) else paths, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


Options = str | Annotated[list[str], Field(min_length=2)]


class Columns(Frozen):
    """The columns that are read from the data set."""

    text: list[str] = Field(
        [],
        description="Text columns in the order in which they are read: one or two; any number with a `prompt`. "
        "The default is none, for images and for decoders that read no text of the row, as in plain language modeling.",
    )
    image: str | None = Field(
        None,
        description="Column of images, as the library datasets stores them or as the bytes of a PNG or JPEG file, for "
        "image-classification tasks. The default null is for texts.",
    )
    target: str = Field(
        description="Column that is predicted: the index of a label, a number, a text, which option is right, or a "
        "question's answers, {text: [...], answer_start: [...]}."
    )
    options: Options | None = Field(
        None,
        description="Of a multiple-choice task: the column that holds the list of a row's options, or a list of "
        "columns that hold one each. The default null means that the options are the task's `labels`.",
    )
    option_names: str | Annotated[list[str], Field(min_length=2)] | None = Field(
        None,
        description="Names of a row's options, where `target` is such a name: the column that holds their list, or the "
        "names themselves, such as [A, B, C, D], in the order of the options of every row. The default null means that "
        "`target` is an index from 0.",
    )

    @property
    def inputs(self) -> list[str]:
        """The columns that a model reads."""
        return [*self.text, *([self.image] if self.image else [])]

    @property
    def option_columns(self) -> list[str]:
        """The columns of options and of their names."""
        options = [self.options] if isinstance(self.options, str) else self.options or []
        return [*options, *([self.option_names] if isinstance(self.option_names, str) else [])]

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        if self.text and self.image:  # neither is for some kinds of task, which Task checks
            raise ValueError("give either `text`, the columns of texts, or `image`, the column of images")
        names = [*self.inputs, *self.option_columns, self.target]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"column {repeated!r} is named twice: each text and the target is a column of its own")
        self._check_option_names()
        return self

    def _check_option_names(self) -> None:
        names, options = self.option_names, self.options
        if isinstance(names, str) and not isinstance(options, str):
            raise ValueError("option_names goes with `options`, the column of the row's options")
        if not isinstance(names, list):
            return
        if options is None:
            raise ValueError("option_names goes with `options`; what the data call `labels` is said by `class_names`")
        if len(set(names)) != len(names):
            raise ValueError(f"option_names repeat: {names}")
        if isinstance(options, list) and len(names) != len(options):
            raise ValueError(f"option_names: expected one name for each of {len(options)} options, found {names}")


class OtherSet(Frozen):
    """A data set that a task is evaluated on and not trained on."""

    hub: HubId = Field(description="Repository of the data set on the hub, such as openai/gsm8k.")
    config: str | None = Field(None, description="Configuration of the data set. The default null is for sets of one.")
    revision: CommitHash | None = Field(
        None, description="Commit of the repository. The default null lets `bench prepare` resolve and record it."
    )
    columns: Columns | None = Field(
        None,
        description="Columns that are read, each in the place of that of the training set. The default null means "
        "that they have the same names.",
    )


class Data(Frozen):
    """The data set and its splits."""

    hub: HubId | None = Field(
        None,
        description="Repository of the data set on the hub, such as nyu-mll/glue. The default null is for tasks that "
        "name `files`.",
    )
    files: dict[KeyName, Paths] | None = Field(
        None,
        description="Files of your own, by split: a path or a list of paths, in which * and ** stand for any name and "
        "any folders. They are looked up beside the task's file, then in the working folder. The default null is for "
        "data sets of the hub.",
    )
    installed: Literal["digits"] | None = Field(
        None,
        description="Data set that an installed package holds: digits, the handwritten digits of scikit-learn. "
        "The default null is for data sets of the hub and files.",
    )
    config: str | None = Field(
        None, description="Configuration of the data set, such as cola. The default null is for sets that have none."
    )
    revision: CommitHash | None = Field(
        None,
        description="Commit of the repository. The default null lets `bench prepare` resolve the newest commit and "
        "record it.",
    )
    train: str = Field("train", description="Split of the data set to train on. The default is train.")
    evaluation: Annotated[dict[SplitName, str], Field(min_length=1)] = Field(
        {"validation": "validation"},
        description="Splits to evaluate on: our name, then the data set's name. Tables show the first one. "
        "The default is validation; with `files`, every split but the training split.",
    )
    evaluation_from: OtherSet | None = Field(
        None,
        description="Another data set of the hub to which the splits of `evaluation` belong, as GSM8K for training on "
        "MetaMathQA. The default null evaluates on splits of the same set.",
    )
    columns: Columns = Field(description="Columns that are read.")
    class_names: list[str] | None = Field(
        None,
        description="Names of the labels in the data set, in the order of `labels`, where the task calls them "
        "otherwise. The default null means that the data set uses the names in `labels`.",
    )
    drop_unlabelled: bool = Field(
        False,
        description="Whether rows without a target (-1, null or empty) are left out; their number is logged and "
        "recorded. The default false refuses them.",
    )
    encoding: Annotated[str, AfterValidator(_text_encoding)] | None = Field(
        None,
        description="Encoding of CSV, TSV and JSON files, such as cp1252. The default null is UTF-8, or what a byte "
        "order mark says.",
    )
    quotes: bool | None = Field(
        None,
        description="Whether double quotes enclose fields of CSV and TSV files. The default null means yes, and "
        "refuses TSV files in which that is in doubt.",
    )
    field: str | None = Field(
        None,
        description="Key of a JSON file under which the list of rows is, such as data. The default null is for lists "
        "and for JSON lines.",
    )
    rows: dict[str, Positive] = Field(
        {},
        description="Number of rows per released split, by the data set's split names, so that `bench plan` can count "
        "steps before anything is downloaded. The default leaves them unknown.",
    )
    embedded: str | None = Field(
        None,
        description="Generator in bench/inputs/synthetic/ that makes rows for studies with data: embedded. "
        "The default null means that there is none.",
    )
    # The folder of the task's file. It is no key and not written out, so that a project can be moved.
    _folder: Path | None = PrivateAttr(None)

    @property
    def folders(self) -> list[Path]:
        """Where `files` are looked up, in this order."""
        return [*([self._folder] if self._folder else []), Path()]

    @property
    def title(self) -> str:
        """What messages call a data set that has a name."""
        return f"data set {self.hub or self.installed}"

    @property
    def for_evaluation(self) -> Data:
        """The data set that the evaluation splits belong to."""
        other = self.evaluation_from
        if other is None:
            return self
        changed = {"hub": other.hub, "config": other.config, "revision": other.revision}
        return self.model_copy(update={**changed, "columns": other.columns or self.columns, "evaluation_from": None})

    @model_validator(mode="before")
    @classmethod
    def _evaluated_files(cls, values: Any) -> Any:
        """Local files other than those of the training split are evaluated unless `evaluation` says which are."""
        if isinstance(values, dict) and isinstance(values.get("files"), dict) and "evaluation" not in values:
            train = values.get("train", "train")
            others = {str(name): str(name) for name in values["files"] if name != train}
            return {**values, "evaluation": others} if others else values
        return values

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Data:
        self._folder = (info.context or {}).get("folder")
        if sum(source is not None for source in (self.hub, self.files, self.installed)) != 1:
            raise ValueError(
                "give one of `hub`, a data set, `files`, the paths of your own files by split, and `installed`"
            )
        other = self.evaluation_from
        if other is not None and self.hub is None:
            raise ValueError("`evaluation_from` is for data sets of the hub: name the other files in `files`")
        if other is not None and other.columns is not None and len(other.columns.text) != len(self.columns.text):
            raise ValueError(
                f"evaluation_from.columns.text: expected as many columns as the training set has, {self.columns.text}, "
                f"found {other.columns.text}"
            )
        if self.files is None:
            return self
        for key in ("config", "revision"):
            if getattr(self, key) is not None:
                raise ValueError(f"`{key}` is for a data set of the hub, not for `files`")
        for split in (self.train, *self.evaluation.values()):
            if split not in self.files:
                raise ValueError(f"`files` names no file of split {split!r}{nearest(split, self.files)}")
        return self
