"""HTTP itself, whatever the resource: problem answers, body limits, paging, the OpenAPI document, telemetry."""
