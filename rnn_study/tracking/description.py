"""What MLflow's UI says of a study: its question and tables, its page, which columns its runs have.

And back: what its runs were made with.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from rnn_study.config import Study
from rnn_study.errors import InvalidInput
from rnn_study.tasks import TASKS
from rnn_study.tracking.environment import settings
from rnn_study.tracking.patience import logger
from rnn_study.tracking.store import STUDY, brief, connect, experiment_of, search

ENVIRONMENT: Final = "environment."
"""How tags of a parent run begin that say what its children were made with."""

NOTE: Final = "mlflow.note.content"
"""Tag of an experiment or a run: its description."""
KIND: Final = "mlflow.experimentKind"
"""Tag of an experiment: without it, the UI opens a page on traces, which a study has none of."""
VIEW: Final = "mlflow.sharedViewState."
"""How tags of an experiment begin that hold a view of its runs; the rest is the view's name."""
COLUMNS: Final = "study"
"""The name of our view."""
RETRIES: Final = 3
"""How often MLflow asks a server again that does not answer."""
LONGEST: Final = 4900
"""Characters of a description; MLflow takes 5000 in a tag of an experiment."""


def describe(uri: str, study: Study, parts: Sequence[str], page: Path) -> None:
    """Puts `parts`, Markdown, on a study's experiment and parent run, and the file `page` on that.

    As many of the parts as MLflow takes, from the first. If the store is away, there is only a
    warning: the same command describes the study again.
    """
    try:
        client = connect(uri, write=False)
        experiment = None if client is None else experiment_of(client, study.name)
        if client is None or experiment is None:
            return
        with settings(retries=RETRIES):
            at = experiment.experiment_id
            tags = {
                NOTE: joined(parts),
                KIND: "custom_model_development",
                VIEW + COLUMNS: json.dumps(view(study)),
            }
            for key, value in tags.items():
                if experiment.tags.get(key) != value:
                    client.set_experiment_tag(at, key, value)
            for run in search(client, at, f"tags.`{STUDY}` = '{study.id}'"):
                client.set_tag(run.info.run_id, NOTE, tags[NOTE])
                client.log_artifact(run.info.run_id, str(page))
    except (InvalidInput, MlflowException, OSError) as error:
        logger.warning("the study's page is not in MLflow: %s", brief(error))


def joined(parts: Sequence[str]) -> str:
    """As many of `parts` as are together at most `LONGEST` characters."""
    text = ""
    for part in parts:
        longer = f"{text}\n\n{part.strip()}".strip()
        if len(longer) > LONGEST:
            break
        text = longer
    return text


def view(study: Study) -> dict[str, object]:
    """The view that the UI opens: a group a condition, in columns what its seeds found."""
    metric = TASKS[study.task].metric
    params = ["cell", "length", "learning_rate", "seed"]
    found = [*metric.columns, "epochs_trained"]
    if metric.goal is not None:
        found += ["epochs_to_solve", "solved"]
    columns = [f"params.`{name}`" for name in params]
    columns += [f"metrics.`{name}`" for name in [*found, "diverged"]]
    condition = [{"mode": "param", "groupByData": name} for name in ("cell", "length")]
    groups = {"aggregateFunction": "average", "groupByKeys": condition}
    return {"selectedColumns": columns, "columnOrder": columns, "groupBy": groups}


def read_environment(uri: str, study_name: str, run_ids: Collection[str]) -> dict[str, str]:
    """What these runs of a study were made with: versions, git commit and machine, by name.

    Where they differ in it, all values.
    """
    client = connect(uri, write=False)
    experiment = None if client is None else experiment_of(client, study_name)
    if client is None or experiment is None:
        return {}
    with settings(retries=RETRIES):
        runs = {run.info.run_id: run for run in search(client, experiment.experiment_id)}
    parents = {runs[run_id].data.tags.get(MLFLOW_PARENT_RUN_ID) for run_id in run_ids}
    found: dict[str, set[str]] = {}
    for run_id, run in runs.items():
        for key, value in run.data.tags.items() if run_id in parents else ():
            if key.startswith(ENVIRONMENT):
                found.setdefault(key.removeprefix(ENVIRONMENT), set()).add(value)
    return {name: ", ".join(sorted(values)) for name, values in found.items()}
