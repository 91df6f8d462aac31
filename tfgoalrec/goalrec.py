"""GoalRec as a recommender: fit, play, rank under a goal, save, export."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from tfrec.methods.recommender import Recommender, load

if TYPE_CHECKING:
    from tfrec.data import storage
    from tfrec.training import run as runs

__all__ = ["GoalRec", "load"]


class GoalRec(Recommender):
    """GoalRec (Wang et al., 2021): predicts measurements of a session and ranks under a goal.

    `fit(data)` alone is GoalRec-off. Arguments as in `Recommender`.

    Example:
      >>> agent = tfgoalrec.GoalRec(seed=0, log_rounds=5).fit(data).play(users)
      >>> agent.rank(history=["lamp"], goal={"click@0": 1, "watch@1..3": 0.02}, k=5)
    """

    method = "goalrec"

    def export(
        self,
        directory: str | pathlib.Path,
        version: int | None = None,
        *,
        name: str = "goalrec",
        table: str = "float32",
        shortlist: int | None = None,
        items: str | pathlib.Path = "",
        item_name: str = "",
        metrics: Mapping[str, Any] | None = None,
    ) -> pathlib.Path:
        """Writes a verified SavedModel for serving.

        Args:
          directory: folder of numbered versions; created if missing.
          version: number of the version, from 1; the next free one by default.
          name: name of the model in its manifest.
          table: precision of the item table: float32, bfloat16 or int8.
          shortlist: items that a fully connected head scores; see `launch.export_model`.
          items: text or Parquet file of the items (first column: the raw id), whose declared
            features and names the export shows to people; with `item_name`, the table of the
            agent's data by default.
          item_name: column of that table with the names of the items.
          metrics: metrics of an evaluation of this agent, for the manifest.

        Returns:
          The version's folder.

        Raises:
          UserError: if the agent is not fitted, the version exists, or the model cannot be
            served.

        Example:
          >>> agent.export("export")
          PosixPath('export/1')
        """
        from tfgoalrec import exporting, trained
        from tfrec.serving import descriptions, export

        agent = cast(trained.TrainedAgent, self.agent)
        metadata = exporting.metadata(
            agent, self.path, self.fingerprint, name=name, data=self._data, metrics=metrics
        )
        described = descriptions.of_agent(agent.vocabulary, items, item_name, self._data)
        return export.export(agent, directory, version, metadata, table, shortlist, described)

    def _run_fields(self) -> dict[str, Any]:
        return {}

    def _stages(self) -> list[tuple[int, str]]:
        stages = [(self.config.log_rounds, "agent_off")]
        if self._users is not None:
            stages.append((cast(Any, self._learner).total_iterations, "agent"))
        return stages

    def _check(self, validation_users: int) -> Callable[[], Mapping[str, float]] | None:
        from tfgoalrec import validation

        held_out = cast("storage.PreparedData", self._data).episodes("validation")
        if not len(held_out.length):
            return None
        return validation.Validator(cast(Any, self._learner).agent, held_out)

    def _finish(self, run: runs.Run) -> None:
        from tfrec.training import summaries

        summaries.write_projector(
            run.directory / "tensorboard",
            cast(Any, self._learner).agent.averaged.item_embedding.numpy()[1:],
            cast("storage.PreparedData", self._data).vocabulary.items.tolist(),
        )
