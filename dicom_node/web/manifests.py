"""What the models read at present, as the rules see them: the bundles on disk with what was decided of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends

from dicom_node.lifecycle.decisions import read_deployments
from dicom_node.manifest import BundleManifest
from dicom_node.web.bundles import view_bundles
from dicom_node.web.dependencies import CurrentConfig, ReadingSession


def _manifests(session: ReadingSession, config: CurrentConfig) -> Mapping[str, BundleManifest]:
    views = view_bundles(config, read_deployments(session, config.versions_folder))
    return {view.name: view.manifest for view in views if view.manifest is not None}


CurrentManifests = Annotated[Mapping[str, BundleManifest], Depends(_manifests)]
