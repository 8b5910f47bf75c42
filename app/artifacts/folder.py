"""Where each file is that an upgrade, or the training of an encoder of side-information, leaves on disk.

artifacts/<upgrade>/chosen               the transformation that was selected
artifacts/<upgrade>/plain                the best one without side-information (also the one pushed into the query)
artifacts/<upgrade>/uncertainty          how far `chosen` is expected to miss, where that was learned
artifacts/<upgrade>/scores               what scores of old searches are worth in new ones, where that was learned
artifacts/<upgrade>/fusion/<gallery>     what fuses the scores of old and new queries in a gallery
artifacts/<upgrade>/from/<model>/…       the same three from an earlier model, where a crossing straight from it is kept
artifacts/<upgrade>/held_out.parquet     how far the crossing missed each pair while the pair was held out
artifacts/<upgrade>/logged.parquet       queries without judgement that `plain` learned from besides, where that helped
artifacts/<upgrade>/queries.npy          vectors of the new model that indexes are tuned with
artifacts/<upgrade>/cascade.json         how many candidates a cascade re-ranks
artifacts/<upgrade>/tuning/<index>.json  how hard a published index must look for the upgrade's queries
artifacts/<upgrade>/charts.json          the charts of the report, drawn
artifacts/<upgrade>/rows.parquet         what training a model found out about its rows
artifacts/<run>/model, model.zip         a model trained here, and the same to be downloaded
artifacts/<run>/training/…               the copy of the rows and the checkpoint, while a model is trained

A run is an upgrade that trains a model, or the training of an encoder. Only paths are made here; whoever knows a file's
content reads and writes it. The names outlive a release: folders written by an older one are read by a newer one.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CrossingFiles:
    """The files of one crossing between two models' spaces, in a folder."""

    folder: Path

    @property
    def chosen(self) -> Path:
        """The transformation that was selected."""
        return self.folder / "chosen"

    @property
    def plain(self) -> Path:
        """The best transformation without side-information."""
        return self.folder / "plain"

    @property
    def uncertainty(self) -> Path:
        """How far `chosen` is expected to miss; not there where that was not learned."""
        return self.folder / "uncertainty"


@dataclass(frozen=True)
class TrainedModelFiles:
    """The files of one model that was trained here, in a folder."""

    folder: Path

    @property
    def model(self) -> Path:
        """The folder of its weights, configuration and card."""
        return self.folder / "model"

    @property
    def model_zip(self) -> Path:
        """The trained model as one zip file, to be downloaded."""
        return self.folder / "model.zip"

    @property
    def training(self) -> Path:
        """The folder of what training needs for as long as it lasts: a copy of the rows, and the checkpoint."""
        return self.folder / "training"


class EncoderArtifacts(TrainedModelFiles):
    """What one training of an encoder of side-information leaves on disk. root: the folder of all artifacts."""

    def __init__(self, root: Path, run: str) -> None:
        super().__init__(root / run)

    @property
    def raw_rows(self) -> Path:
        """The dataset's rows as they were when training first read them."""
        return self.training / "rows.arrow"


class UpgradeArtifacts(CrossingFiles, TrainedModelFiles):
    """What one upgrade leaves on disk: its crossing, what else it learned, and the model if it trains one.

    root: the folder of all artifacts.
    """

    def __init__(self, root: Path, upgrade: str) -> None:
        super().__init__(root / upgrade)

    @property
    def shortcuts(self) -> Path:
        """The folder of the crossings from models before the upgrade's own."""
        return self.folder / "from"

    def shortcut(self, model: str) -> CrossingFiles:
        """The crossing straight from an earlier model; its folder is not there where composition serves better."""
        return CrossingFiles(self.shortcuts / model)

    @property
    def scores(self) -> Path:
        """The folder of what scores of old searches are worth in new ones; not there where that was not learned."""
        return self.folder / "scores"

    @property
    def held_out(self) -> Path:
        """How far the crossing missed each pair while the pair was held out of learning."""
        return self.folder / "held_out.parquet"

    @property
    def logged(self) -> Path:
        """The queries that nobody judged which `plain` learned from besides pairs; not there where it learned from
        none."""
        return self.folder / "logged.parquet"

    def fusion(self, gallery: str) -> Path:
        """The folder of what fuses the scores of old and new queries in a gallery, by its id; not there where a release
        that knew of none proved the upgrade."""
        return self.folder / "fusion" / gallery

    @property
    def queries(self) -> Path:
        """Vectors of the new model that indexes are tuned with, (m, d_new) float32."""
        return self.folder / "queries.npy"

    @property
    def cascade(self) -> Path:
        """How many candidates a cascade re-ranks; not there where the crossing is pushed into queries exactly."""
        return self.folder / "cascade.json"

    def tuning(self, index: str) -> Path:
        """How hard a published index, by its name, must look for the upgrade's queries."""
        return self.folder / "tuning" / f"{index}.json"

    @property
    def charts(self) -> Path:
        """The charts of the report, drawn; not there where a release that kept none proved the upgrade."""
        return self.folder / "charts.json"

    @property
    def rows(self) -> Path:
        """What training a model found out about each of its rows."""
        return self.folder / "rows.parquet"

    def labelled_rows(self, dataset: str) -> Path:
        """The rows of a dataset as they were when the upgrade first read them to train or judge a model."""
        return self.training / f"{dataset}.arrow"

    @property
    def split(self) -> Path:
        """Which rows the model is trained on, and which are held out."""
        return self.training / "split.npz"
