"""The conformance statement lists every attribute of the created objects, no more and no fewer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from dicom_node.domain import ResultKind
from dicom_node.results.header import PATIENT_AND_STUDY
from dicom_node.results.options import DEFAULT_SERIES_NUMBERS
from tests.results import cases

STATEMENT = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
SECTIONS = {
    ResultKind.STRUCTURED_REPORT: "8.3",
    ResultKind.SECONDARY_CAPTURE: "8.4",
    ResultKind.PRESENTATION_STATE: "8.5",
    ResultKind.PARAMETRIC_MAP: "8.6",
    ResultKind.SEGMENTATION: "8.7",
}


def section(number: str) -> str:
    match = re.search(rf"^### {re.escape(number)} .*?(?=^### |\Z)", STATEMENT, re.M | re.S)
    assert match
    return match[0]


def listed(number: str) -> dict[str, str]:
    """Keyword and tag of each row."""
    return dict(re.findall(r"^\| (\w+) \| \(([0-9A-F]{4},[0-9A-F]{4})\) \|", section(number), re.M))


def made(kind: ResultKind) -> list[Dataset]:
    """Objects that between them have every attribute there is."""
    stack, sources = cases.ct()
    plain, projection = cases.radiograph(LossyImageCompression="01")
    finding = cases.finding(stack, key_indices=(3, 2, 1))
    return [
        *cases.built(stack, sources, finding, kinds=(kind,), predecessor_digest="c" * 64),
        *cases.built(plain, projection, cases.finding(plain), kinds=(kind,)),
    ]


@pytest.mark.parametrize("kind", ResultKind)
def test_statement_lists_the_attributes_of_each_kind(kind: ResultKind) -> None:
    written = {element.keyword for dataset in made(kind) for element in dataset} - set(PATIENT_AND_STUDY)
    assert listed("8.2").keys() | listed(SECTIONS[kind]).keys() == written


def test_statement_gives_the_right_tags() -> None:
    for number in ("8.2", *SECTIONS.values()):
        for keyword, tag in listed(number).items():
            assert tag_for_keyword(keyword) == int(tag.replace(",", ""), 16), keyword


def test_statement_lists_what_is_copied() -> None:
    copied = re.search(r"modules: ([\w, \n]+?)\. ", section("8.1"))
    assert copied
    assert set(copied[1].replace("\n", " ").split(", ")) == set(PATIENT_AND_STUDY)


def test_statement_tells_the_default_series_numbers() -> None:
    told = dict(re.findall(r"(\d+) \((\w+)\)", section("8.2")))
    assert told == {str(number): kind.value for kind, number in DEFAULT_SERIES_NUMBERS.items()}
