"""The manifest of a model that stands in for a real one, in measurements and in tests."""

from __future__ import annotations

from dicom_node.manifest import BundleManifest

MANIFEST = BundleManifest.model_validate(
    {
        "title": "Stand-in",
        "kind": "ct",
        "input": {"window": {"center": 40, "width": 400}},
        "selection": {"sop_classes": ["CTImageStorage"], "conditions": [{"attribute": "Modality", "equals": "CT"}]},
        "classes": ["normal", "tumour"],
        "findings": [
            {
                "name": "tumour",
                "label": "Tumour",
                "classes": ["tumour"],
                "code": {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"},
                "site": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"},
                "operating_point": "balanced",
                "operating_points": {"balanced": {"threshold": 0.5}},
            }
        ],
    }
)
