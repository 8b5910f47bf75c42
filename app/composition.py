"""The one place that puts the parts together."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.backfills.service import BackfillRuns
from app.connections.configured import configured_connections
from app.datasets.service import Datasets
from app.downloads import Downloads
from app.embedders.configured import ConfiguredEmbedders
from app.embedders.gateway import GatewayEmbedders
from app.evaluations.checks import EvaluationChecks
from app.evaluations.service import Evaluations
from app.filters import FilteredRows
from app.galleries.backfill import Backfills
from app.galleries.following import Following
from app.galleries.item_texts import ItemTexts
from app.galleries.items import GalleryItems
from app.galleries.listing import ItemListing
from app.galleries.rebuilds import Rebuilds
from app.galleries.retirement import Retirement
from app.galleries.samples import Samples
from app.galleries.service import Galleries
from app.galleries.settling import StoreSettling
from app.galleries.targets import StoreTargets
from app.galleries.traffic import ItemTraffic
from app.jobs.doorbell import Doorbell
from app.jobs.service import Jobs
from app.keys.ring import KeyRing
from app.keys.service import Keys
from app.old_space.resolution import OldSpaceResolver
from app.old_space.service import OldSpaceEmbeddings
from app.overload.threads import export_threads
from app.readiness import Readiness
from app.registry.service import Leaves, Models, Usages
from app.search.kept_resolutions import KeptResolutions
from app.search.live import LiveIndexes
from app.search.real_vectors import RealVectors
from app.search.reranked import RerankedSearch
from app.search.resolution import SearchResolver
from app.search.service import Search
from app.search.single_queries import SingleQueries
from app.search.vector_keeper import VectorKeeper
from app.settings import Settings
from app.side_information.later import LaterSideInformation
from app.side_information.service import Encoders
from app.spaces.doctor import Doctor
from app.spaces.guard import SpaceGuard
from app.spaces.sketches import Sketches
from app.spaces.stored import StoredSpaces
from app.spaces.watch import StreamWatch
from app.storage.commits import CommitWatch
from app.storage.database import Database
from app.stores.kinds import ConfiguredStores
from app.upgrades.accepted_crossings import AcceptedCrossings
from app.upgrades.crossing_downloads import CrossingDownloads
from app.upgrades.embedding_checks import EmbeddingChecks
from app.upgrades.findings import UpgradeFindings
from app.upgrades.removal import UpgradeRemoval
from app.upgrades.report_pages import ReportPages
from app.upgrades.score_translations import ScoreAnswers
from app.upgrades.service import Upgrades
from app.upgrades.steps import UpgradeSteps
from app.upgrades.transform_units import TransformUnits
from app.uploads import Uploads


@dataclass(frozen=True)
class Crosswalk:
    """The service without HTTP: what the gateway's routes and the workers' steps are given."""

    settings: Settings
    database: Database
    doorbell: Doorbell
    jobs: Jobs
    models: Models
    datasets: Datasets
    stores: ConfiguredStores
    embedders: ConfiguredEmbedders
    galleries: Galleries
    store_targets: StoreTargets
    store_settling: StoreSettling
    following: Following
    items: GalleryItems
    texts: ItemTexts
    listing: ItemListing
    export_threads: CapacityLimiter
    samples: Samples
    retirement: Retirement
    backfills: Backfills
    backfill_runs: BackfillRuns
    later_side_information: LaterSideInformation
    upgrades: Upgrades
    upgrade_steps: UpgradeSteps
    transform_units: TransformUnits
    upgrade_removal: UpgradeRemoval
    downloads: Downloads
    crossing_downloads: CrossingDownloads
    report_pages: ReportPages
    score_answers: ScoreAnswers
    encoders: Encoders
    accepted_crossings: AcceptedCrossings
    evaluations: Evaluations
    live: LiveIndexes
    commits: CommitWatch
    search_resolver: KeptResolutions
    search: Search
    single_queries: SingleQueries
    old_space: OldSpaceEmbeddings
    asked_embedders: GatewayEmbedders
    vector_keeper: VectorKeeper
    traffic: ItemTraffic
    real_vectors: RealVectors
    uploads: Uploads
    keys: Keys
    key_ring: KeyRing
    spaces: SpaceGuard
    streams: StreamWatch
    doctor: Doctor
    readiness: Readiness
    apart: Database

    def step_failed(self, session: Session, subject: str, reason: str) -> None:
        """Ends what a step that failed for good was of, in the transaction that fails its job.

        A subject that no resource knows (a sample, an index) has nothing to end: its job says why.
        """
        for resource in (self.upgrade_steps, self.evaluations, self.encoders, self.backfill_runs, self.following):
            resource.step_failed(session, subject, reason)

    async def close_embedders(self) -> None:
        """Ends what embedders are asked; called in the event loop that asked, and before `close`."""
        await self.real_vectors.close()
        await self.asked_embedders.close()

    def close(self) -> None:
        self.search.close()
        self.vector_keeper.close()
        self.traffic.close()
        self.key_ring.note_last_use()
        self.uploads.close()
        self.streams.close()
        self.doorbell.close()
        self.commits.close()
        self.apart.close()
        self.database.close()


def compose(settings: Settings, database: Database | None = None) -> Crosswalk:
    """Builds every part from the settings, on the process's database if it has one. Nothing is opened yet.

    Raises WrongConnections where the file of connections cannot be used.
    """
    usages: list[Usages] = []
    leaves: list[Leaves] = []
    connections = configured_connections(settings.connections)
    database = database or Database(settings.sqlalchemy_url, settings.database_connections, settings.database_seconds)
    apart = database.apart()
    doorbell = Doorbell(settings)
    jobs = Jobs(doorbell.ring)
    models = Models(database, usages, leaves, connections.embedders)
    datasets = Datasets(settings, database, models)
    galleries = Galleries(settings, database, models, connections.stores)
    retirement = Retirement(database, galleries)
    units = TransformUnits(jobs)
    targets = StoreTargets(database, galleries, connections.stores)
    traffic = ItemTraffic(database, settings.traffic_seconds)
    backfills = Backfills(galleries, retirement, UpgradeFindings(settings, database), traffic)
    texts = ItemTexts(galleries)
    embedding = EmbeddingChecks(settings, models, connections.embedders, texts)
    upgrades = Upgrades(database, models, galleries, datasets, jobs, units, targets, embedding)
    accepted_crossings = AcceptedCrossings(database)
    evaluations = Evaluations(database, EvaluationChecks(models, galleries, datasets, accepted_crossings), jobs)
    live = LiveIndexes(galleries, Rebuilds(database, jobs).ask)
    encoders = Encoders(settings, database, models, galleries, datasets, jobs)
    keys = Keys(database)
    commits = database.watch_commits()
    resolver = KeptResolutions(SearchResolver(settings, database, models, galleries, connections.embedders), commits)
    filtered = FilteredRows(settings.filter_memory_bytes)
    items = GalleryItems(models, galleries, filtered)
    asked = GatewayEmbedders()
    keeper = VectorKeeper(galleries, items, retirement, settings.reranked_text)
    real = RealVectors(settings, database, asked, keeper)
    search = Search(settings, galleries, live, filtered, RerankedSearch(settings, galleries, real), traffic)
    sketches = Sketches(settings.spaces_dir, StoredSpaces(galleries, datasets).vectors)
    spaces = SpaceGuard(settings, models, sketches, commits)
    streams = StreamWatch(spaces, off=settings.space_guard == "off")
    usages += [galleries.using_model, datasets.using_model, upgrades.using_model, encoders.using_model]
    leaves += [encoders.leave]
    return Crosswalk(
        settings=settings,
        database=database,
        doorbell=doorbell,
        jobs=jobs,
        models=models,
        datasets=datasets,
        stores=connections.stores,
        embedders=connections.embedders,
        galleries=galleries,
        store_targets=targets,
        store_settling=StoreSettling(database, jobs, targets),
        following=Following(database, galleries, jobs),
        items=items,
        texts=texts,
        listing=ItemListing(galleries, filtered),
        export_threads=export_threads(),
        samples=Samples(database, galleries, jobs),
        retirement=retirement,
        backfills=backfills,
        backfill_runs=BackfillRuns(database, galleries, backfills, embedding, jobs),
        later_side_information=LaterSideInformation(settings, database, models, galleries),
        upgrades=upgrades,
        upgrade_steps=UpgradeSteps(database, models, jobs, units),
        transform_units=units,
        upgrade_removal=UpgradeRemoval(settings, database, models, galleries, jobs, [evaluations.using_upgrade]),
        downloads=Downloads(settings, models, upgrades, encoders),
        crossing_downloads=CrossingDownloads(settings, upgrades),
        report_pages=ReportPages(settings),
        score_answers=ScoreAnswers(settings, models, upgrades),
        encoders=encoders,
        accepted_crossings=accepted_crossings,
        evaluations=evaluations,
        live=live,
        commits=commits,
        search_resolver=resolver,
        search=search,
        single_queries=SingleQueries(
            resolver, search, streams, settings.search_queries_limit, settings.search_answer_numbers
        ),
        old_space=OldSpaceEmbeddings(
            OldSpaceResolver(settings, database, models, connections.embedders, commits), asked
        ),
        asked_embedders=asked,
        vector_keeper=keeper,
        traffic=traffic,
        real_vectors=real,
        uploads=Uploads(settings),
        keys=keys,
        key_ring=KeyRing(settings, Keys(apart)),
        spaces=spaces,
        streams=streams,
        doctor=Doctor(galleries, spaces),
        readiness=Readiness(settings, apart, doorbell, galleries.index_engine),
        apart=apart,
    )


async def _parts(request: Request) -> Crosswalk:  # async: a plain function is called in a thread
    crosswalk: Crosswalk = request.app.state.crosswalk
    return crosswalk


Parts = Annotated[Crosswalk, Depends(_parts)]
"""The parameter by which a route receives the service's parts."""
