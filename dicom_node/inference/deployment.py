"""What an administrator decided of a model, beyond what its bundle says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.manifest import BundleManifest, FindingDefinition


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that reads beside the one in use: its number, and the folder of its bundle."""

    version_id: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Deployment:
    """How a model is run; what is None or missing is as the installed bundle says.

    ``operating_points`` names the point of a finding, ``folder`` is the bundle that reads in place of the installed
    one.
    """

    enabled: bool | None = None
    operating_points: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    shadow: Shadow | None = None

    def applied_to(self, manifest: BundleManifest) -> BundleManifest:
        """The manifest as the model is run. A point that this version of the bundle does not have is passed over."""
        return manifest.model_copy(
            update={
                "enabled": manifest.enabled if self.enabled is None else self.enabled,
                "findings": tuple(self._at_point(finding) for finding in manifest.findings),
            }
        )

    def _at_point(self, finding: FindingDefinition) -> FindingDefinition:
        point = self.operating_points.get(finding.name, finding.operating_point)
        return finding.model_copy(update={"operating_point": point}) if point in finding.operating_points else finding
