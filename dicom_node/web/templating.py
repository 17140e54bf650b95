"""The templates: everything escaped, every name checked, the formats of ``formatting`` at hand."""

from __future__ import annotations

from typing import Any

import jinja2
from fastapi import Request
from fastapi.templating import Jinja2Templates

from dicom_node import __version__
from dicom_node.config import Config
from dicom_node.database import now
from dicom_node.domain import ResultKind, StudyState
from dicom_node.web import formatting
from dicom_node.web.dimse_status import status_in_words


def create_templates(config: Config) -> Jinja2Templates:
    """Templates that know the node they speak of. A name they do not get is an error, never an empty string."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dicom_node.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"live": "changed from:body, every 30s", "StudyState": StudyState, "ResultKind": ResultKind}
    environment.filters |= {
        "age": formatting.age,
        "clock": formatting.clock,
        "dicom_date": formatting.dicom_date,
        "duration": formatting.duration,
        "full_time": formatting.full_time,
        "megabytes": formatting.megabytes,
        "offset": formatting.offset,
        "percent": formatting.percent,
        "person_name": formatting.person_name,
        "profile": formatting.profile,
        "status_in_words": status_in_words,
    }

    def always_there(request: Request) -> dict[str, Any]:
        caller = getattr(request.state, "caller", None)  # an address that leads nowhere is answered to anybody
        return {"now": now(), "config": config, "version": __version__, "me": caller}

    return Jinja2Templates(env=environment, context_processors=[always_there])
