"""The status page and the HTTP API: what admins open, and what routers and monitoring call."""

from dicom_node.web.app import create_app

__all__ = ["create_app"]
