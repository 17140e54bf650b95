"""Everything that the results of one reading are made from, gathered once and handed to each builder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from dicom_node.domain import AnalysisIdentity, ImagePlane, ImageStack, Reading, ResultKind
from dicom_node.results import wording
from dicom_node.results.header import Provenance
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.options import ResultOptions


@dataclass(frozen=True, slots=True, eq=False)
class ResultRequest:
    """One reading, the images it was made of, and how its results are to look.

    ``sources`` are the headers of the source instances of ``stack``; several planes share one where it is
    multi-frame. ``stack_number`` counts the stacks that the model read from the series, from 1.

    Raises:
        ValueError: a plane of the stack comes from none of the sources.
    """

    analysis: AnalysisIdentity
    reading: Reading
    stack: ImageStack
    sources: Sequence[Dataset]
    options: ResultOptions
    stack_number: int
    _by_uid: Mapping[str, Dataset]

    @classmethod
    def of(
        cls,
        analysis: AnalysisIdentity,
        reading: Reading,
        stack: ImageStack,
        sources: Sequence[Dataset],
        options: ResultOptions,
        stack_number: int = 1,
    ) -> ResultRequest:
        """Check that stack and sources belong together, and index the sources."""
        by_uid = {str(source.SOPInstanceUID): source for source in sources}
        missing = sorted({plane.sop_instance_uid for plane in stack.planes} - by_uid.keys())
        if missing:
            raise ValueError(f"no header was given for {len(missing)} images of the stack, the first is {missing[0]}")
        return cls(analysis, reading, stack, tuple(by_uid.values()), options, stack_number, by_uid)

    def identity(self, kind: ResultKind) -> ResultIdentity:
        """Names of the objects of ``kind``."""
        return ResultIdentity.of(self.analysis, self.reading, self.stack_number, self.options.variant(kind))

    def provenance(self, kind: ResultKind) -> Provenance:
        """What the objects of ``kind`` tell of their origin."""
        manifest, texts = self.reading.manifest, [*self.reading.notes, *self.stack.notes]
        for finding in self.reading.findings:
            texts += [finding.label, finding.operating_point_name, finding.code.meaning, finding.site.meaning]
        return Provenance(
            self.sources[0],
            self.identity(kind),
            self.options,
            manifest.title,
            wording.result(self.reading.findings),
            self.created_at,
            (manifest.title, *texts, *self.options.descriptions.values()),
        )

    def plane(self, index: int) -> ImagePlane:
        """The plane at ``index`` of the stack."""
        return self.stack.planes[index]

    def source(self, index: int) -> Dataset:
        """The header of the instance that holds the image at ``index`` of the stack."""
        return self._by_uid[self.stack.planes[index].sop_instance_uid]

    @property
    def created_at(self) -> datetime:
        """When the analysis was asked for: the date of every object."""
        return self.analysis.created_at
