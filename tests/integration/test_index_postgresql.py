"""What only PostgreSQL has: several nodes on one index, a server that goes away."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from support.index import Index, make_entry
from support.postgresql import Cluster

from pacslite.index import migrate
from pacslite.index.engine import open_reader_engine, open_writer_engine
from pacslite.model.errors import OutOfResourcesError
from pacslite.model.instances import DuplicatePolicy, Outcome


@pytest.fixture
def url(postgresql_url: str) -> str:
    migrate.upgrade(postgresql_url)
    return postgresql_url


@pytest.fixture
def nodes(url: str) -> Iterator[list[Index]]:
    opened = [Index(url) for _ in range(3)]
    yield opened
    for index in opened:
        index.close()


def send_from_all(nodes: list[Index], count: int, policy: DuplicatePolicy) -> list[Outcome | None]:
    """Let each node receive instances of the same studies at the same time."""
    start = threading.Barrier(len(nodes))
    outcomes: list[Outcome | None] = []

    def send(node: int) -> None:
        start.wait(timeout=20)
        for number in range(count):
            uid = f"1.{number}" if number % 3 == 0 else f"1.{number}.{node + 1}"
            entry = make_entry(
                uid,
                study=f"2.{number % 4}",
                series=f"2.{number % 4}.{node % 2}",
                Modality=f"M{node}",
                content=f"{node}",
                policy=policy,
            )
            outcomes.append(nodes[node].receive(entry).outcome)

    threads = [threading.Thread(target=send, args=(node,)) for node in range(len(nodes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def check_counters(index: Index) -> None:
    """Compare every kept counter and collected value with what the rows say."""
    with index.reader_engine.connect() as connection:
        wrong = connection.execute(
            text(
                """
                SELECT study.pk FROM study LEFT JOIN series ON series.study_pk = study.pk
                LEFT JOIN instance ON instance.series_pk = series.pk
                GROUP BY study.pk
                HAVING count(DISTINCT series.pk) <> study.number_of_study_related_series
                OR count(instance.pk) <> study.number_of_study_related_instances
                OR string_agg(DISTINCT series.modality, '\\' ORDER BY series.modality)
                    <> study.modalities_in_study
                UNION ALL
                SELECT series.pk FROM series LEFT JOIN instance ON instance.series_pk = series.pk
                GROUP BY series.pk
                HAVING count(instance.pk) <> series.number_of_series_related_instances
                OR count(instance.pk) = 0
                """
            )
        ).all()
    assert wrong == []


def test_s13_nodes_that_receive_the_same_studies_make_each_once(nodes: list[Index]) -> None:
    outcomes = send_from_all(nodes, 40, DuplicatePolicy.KEEP_FIRST)
    assert len(outcomes) == 120
    assert None not in outcomes
    counts = nodes[0].reader.counts()
    assert (counts.patients, counts.studies, counts.series) == (1, 4, 8)
    assert counts.instances == outcomes.count(Outcome.STORED) == 14 + 26 * 3
    assert counts.conflicts == outcomes.count(Outcome.KEPT_ASIDE) == 28
    check_counters(nodes[0])


def test_nodes_that_replace_each_others_instances_keep_the_counters_right(nodes: list[Index]) -> None:
    outcomes = send_from_all(nodes, 30, DuplicatePolicy.REPLACE)
    assert len(outcomes) == 90
    assert None not in outcomes
    assert nodes[0].reader.counts().instances == 10 + 20 * 3
    check_counters(nodes[0])


def test_a_study_that_another_node_removed_is_made_again(nodes: list[Index]) -> None:
    first, second, _ = nodes
    first.receive(make_entry("1.1", content="a"))
    second.receive(make_entry("1.1", content="b", study="9.1", policy=DuplicatePolicy.REPLACE))
    assert first.reader.study("1.2.3.1") is None
    assert first.receive(make_entry("1.2")).outcome is Outcome.STORED
    check_counters(first)


def test_commits_wait_for_the_log(url: str) -> None:
    engine = open_writer_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        assert connection.scalar(text("SHOW fsync")) == "on"
    engine.dispose()


def test_a_reader_sees_one_state_and_cannot_write(url: str) -> None:
    engine = open_reader_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW transaction_read_only")) == "on"
        assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    engine.dispose()


def test_a_prefix_of_paths_compares_by_code_point(url: str) -> None:
    index = Index(url)
    index.receive(make_entry())
    assert len(index.reader.named_paths("node1/")) == 1
    with index.reader_engine.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "EXPLAIN SELECT path FROM instance WHERE path >= 'node1/' AND path < 'node2/'"
        assert "Index" in str(connection.execute(text(plan)).all())
    index.close()


def test_a_server_that_comes_back_is_used_again_without_a_restart(
    postgresql_cluster: Cluster, url: str
) -> None:
    index = Index(url)
    assert index.receive(make_entry("1.1")).outcome is Outcome.STORED
    postgresql_cluster.stop("immediate")
    try:
        with pytest.raises(OutOfResourcesError):
            index.receive(make_entry("1.2"))
        assert not index.is_healthy()
    finally:
        postgresql_cluster.start()
    assert index.receive(make_entry("1.3")).outcome is Outcome.STORED
    assert index.is_healthy()
    assert index.reader.instance("1.1") is not None
    index.close()


def test_a_server_that_restarted_between_two_receipts_costs_none(
    postgresql_cluster: Cluster, url: str
) -> None:
    index = Index(url)
    index.receive(make_entry("1.1"))
    postgresql_cluster.stop("fast")
    postgresql_cluster.start()
    assert index.receive(make_entry("1.2")).outcome is Outcome.STORED
    index.close()
