"""The comparison's arithmetic, tables and data; `python -m bench --quick` runs the rest."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydicom import dcmread

from bench.__main__ import parse
from bench.data import Batch, Shape
from bench.measure import Comparison, Failure, Run, Summary, pair_ratios, summarise
from bench.peers import PEERS
from bench.plot import svg
from bench.report import Setting, as_json, figure, markdown, overview, table
from bench.workloads import QUICK, Counts, Measured, Plan, make_workloads

RATE = Plan("ct", "C-STORE <CT>", "instances/s", Counts(400, 60, 20))
MEMORY = Plan("memory", "Peak memory", "MiB", Counts(1, 1, 0), is_less_better=True)
SETTING = Setting(
    {"cores": "2"}, {"pacslite": "ours", "orthanc": "theirs"}, {"qrscp": "x"}, 3, is_quick=False
)


@pytest.fixture
def comparison() -> Comparison:
    made = Comparison([RATE, MEMORY], ["pacslite", "orthanc"])
    for number, (ours, theirs) in enumerate([(400.0, 20.0), (300.0, 20.0), (500.0, 10.0)], 1):
        made.runs.append(Run("ct", "pacslite", number, Measured(ours, 400)))
        made.runs.append(Run("ct", "orthanc", number, Measured(theirs, 60)))
    made.runs.append(Run("memory", "pacslite", 1, Measured(60.0, 1, "40 MiB before it came")))
    made.failures.append(Failure("memory", "orthanc", "ended"))
    return made


def test_summarise_takes_median_and_range() -> None:
    assert summarise([3.0, 1.0, 10.0]) == Summary(3.0, 1.0, 10.0)
    assert summarise([1.0, 2.0]) == Summary(1.5, 1.0, 2.0)
    assert summarise([]) is None


def test_pair_ratios_go_round_by_round_and_skip_what_has_no_pair() -> None:
    assert pair_ratios([10.0, 30.0, 50.0], [5.0, 0.0]) == [2.0]


def test_ratio_is_the_median_of_the_rounds_not_of_the_medians(comparison: Comparison) -> None:
    assert comparison.ratio("ct", "orthanc") == Summary(20.0, 15.0, 50.0)
    assert comparison.ratio("ct", "pacslite") is None
    assert comparison.ratio("memory", "orthanc") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4600.4, "4,600"),
        (418.0, "418"),
        (21.34, "21.3"),
        (1.5, "1.50"),
        (0.95, "0.95"),
        (0.037, "0.037"),
        (0, "0"),
    ],
)
def test_figure_keeps_about_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


def test_table_aligns_figures_right_and_escapes_bars() -> None:
    assert table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"


def test_overview_has_a_cell_for_each_peer(comparison: Comparison) -> None:
    assert overview(comparison).splitlines()[2:] == [
        "| C-STORE <CT> (instances/s) | 400 | 20.0 (20.0 \N{MULTIPLICATION SIGN}) |",
        "| Peak memory (MiB) | 60.0 | \N{EN DASH} |",
    ]


def test_markdown_says_what_the_figures_do_not(comparison: Comparison) -> None:
    page = markdown(comparison, SETTING)
    assert "- orthanc: 60 instead of 400 operations" in page
    assert "- orthanc: left out after 0 runs: ended." in page
    assert "- pacslite: 40 MiB before it came." in page
    assert "left out: qrscp." in page


def test_json_holds_runs_and_ratios(comparison: Comparison) -> None:
    rate, memory = as_json(comparison, SETTING)["workloads"]
    assert rate["results"][1]["pacslite_divided_by_peer"] == {"median": 20.0, "lowest": 15.0, "highest": 50.0}
    assert [run["value"] for run in rate["results"][0]["runs"]] == [400.0, 300.0, 500.0]
    assert memory["results"][1]["failure"] == "ended"


def test_svg_is_well_formed_and_has_a_bar_for_each_figure(comparison: Comparison) -> None:
    root = ET.fromstring(svg(comparison))
    background_and_bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(background_and_bars) == 1 + 3


def test_options_keep_pacslite_among_the_peers(tmp_path: Path) -> None:
    options = parse(["--peers", "orthanc", "--workloads", "echo", "--quick", "--out", str(tmp_path)])
    assert [peer.name for peer in options.peers] == ["pacslite", "orthanc"]
    assert [work.plan.name for work in options.workloads] == ["echo"]
    assert (options.rounds, options.scale, options.results) == (1, QUICK, tmp_path)


def test_names_of_peers_and_workloads_are_unique() -> None:
    for names in ([peer.name for peer in PEERS], [work.plan.name for work in make_workloads(QUICK)]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("shape", [Shape(6, 4), Shape(4, 4, 1, 3)])
def test_batch_is_readable_and_renewed_in_place(tmp_path: Path, shape: Shape) -> None:
    batch = Batch(tmp_path / "batch", shape, 101)
    before = [dcmread(file) for file in batch.files]
    batch.renew()
    after = [dcmread(file) for file in batch.files]
    for datasets in (before, after):
        assert len({dataset.SOPInstanceUID for dataset in datasets}) == 101
        assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 2
        assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1
        assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in datasets)
        assert all(len(dataset.PixelData) == shape.pixel_bytes for dataset in datasets)
    assert {ds.SOPInstanceUID for ds in before}.isdisjoint(ds.SOPInstanceUID for ds in after)
    assert before[0].StudyInstanceUID != after[0].StudyInstanceUID
