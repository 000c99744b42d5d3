"""A run that pauses at its rungs to be judged, with its actors kept alive in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from ray.util.placement_group import PlacementGroup

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import CONFIG_FILE
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.resources import Resources
from hmdc_ray.run.execution import Run
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.progress import Silent
from hmdc_ray.run.resume import resume_from
from hmdc_ray.server.checkpoint import SERVER
from hmdc_ray.system.signals import StopRequest

Judge = Callable[[int, CondensedSet], Mapping[str, float]]
"""Called with the image version and the images of a rung; gives the metrics to be tracked."""

Report = Callable[[], None]
"""Called when all results of a rung are saved and tracked. It need not return: a trial may end
there."""

_logger = logging.getLogger(__name__)


def run_in_rungs(
    config: RunConfig,
    info: DatasetInfo,
    folder: Path,
    versions: Collection[int],
    judge: Judge,
    report: Report,
    *,
    group: PlacementGroup,
    parent: str | None,
    runs: int,
) -> None:
    """Learn condensed images as :func:`hmdc_ray.run.condense.condense` does, to the same bits, and
    pause at every rung.

    Resumes from the folder's last checkpoint where there is one, first judging a rung that lies at
    that very checkpoint.

    Args:
        config: the run.
        info: description of its data.
        folder: the run's folder.
        versions: image versions of the rungs that are not judged yet.
        judge: function that measures a rung's images, see :data:`Judge`.
        report: function called after each rung, see :data:`Report`.
        group: placement group of the run's actors.
        parent: MLflow id of the search; None when nothing is tracked.
        runs: number of trials at a time, which share the memory of nodes.

    Raises:
        InputError: the folder or its checkpoint is not usable, or the members did not start in
            time.
        RunError: a process died, or did not answer.
    """
    resumes = (folder / CONFIG_FILE).exists()
    claimed = RunFolder.claim(folder, resume=resumes)
    try:
        start = resume_from(folder, config, info)[0] if resumes else None
        _RungRun(config, info, claimed, start, versions, judge, report, group, parent, runs).execute_in_rungs()
    finally:
        claimed.release()


class _Troubles(Silent):
    """Writes troubles alone, such as a shortage of memory, to the trial's log."""

    def trouble(self, text: str) -> None:
        """See :class:`hmdc_ray.run.progress.Progress`."""
        _logger.warning("%s", text)


class _RungRun(Run):
    """See :func:`run_in_rungs`."""

    def __init__(
        self,
        config: RunConfig,
        info: DatasetInfo,
        folder: RunFolder,
        resumed: int | None,
        versions: Collection[int],
        judge: Judge,
        report: Report,
        group: PlacementGroup,
        parent: str | None,
        runs: int,
    ) -> None:
        super().__init__(config, info, folder, resumed, _Troubles(), StopRequest(), parent, runs)
        self._versions = frozenset(versions)
        self._judge = judge
        self._report = report
        self._group = group

    def execute_in_rungs(self) -> None:
        """Do the steps that are left, with a pause at every rung."""
        try:
            if self.start in self._versions:
                self._begin()
                images_KICHW = self.checkpoints.load(self.start)[SERVER].arrays["images"]
                self._pause(self.start, self._condensed_set(images_KICHW))
            if self.start < self.total:
                self._condense()
        except BaseException:
            self.tracking.finish("FAILED")
            raise

    def _launch(self, resources: Resources) -> AbstractContextManager[RayPool]:
        return launch(resources, self.info, self.path, self._check, self._group)

    def _pauses(self, version: int) -> bool:
        return version in self._versions

    def _pause(self, version: int, condensed: CondensedSet) -> None:
        self._save(condensed)
        self.tracking.metrics(version, self._judge(version, condensed))
        if version == self.total:
            self.tracking.artifacts(path for path in sorted(self.path.iterdir()) if not path.name.startswith("."))
        # Finished before the report, after which a scheduler may end this process without notice.
        self.tracking.finish("FINISHED")
        self._report()
        if version < self.total:
            self._track()  # the tracking run is resumed
