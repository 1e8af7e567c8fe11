"""The JSON schema of experiment files, for editors."""

from __future__ import annotations

from typing import Any

from orchestrator.config.json_schema import FileSchema, text_of
from orchestrator.experiments.design.experiment_design import ExperimentDesign


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one file: what `reading.read` refuses in the fields of a file is refused by it too, except rules
    between keys."""
    return ExperimentDesign.model_json_schema(schema_generator=FileSchema)


def schema_text() -> str:
    """The schema as committed in `configs/experiments/schema.json`."""
    return text_of(schema())
