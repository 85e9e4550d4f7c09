"""What the description cannot say of values that only the service makes, for requests that are meant to be right.

A cursor belongs to one list with its filters, a Consistency-Token is signed, and an Idempotency-Key stands for one request.
Requests that are meant to be wrong go out as they were made.
"""

import os
import uuid

import schemathesis


@schemathesis.hook
def before_call(_context, case, _kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query:
        case.query.pop("cursor", None)
    if not case.headers:
        return
    if "Consistency-Token" in case.headers:
        case.headers["Consistency-Token"] = os.environ["CONSISTENCY_TOKEN"]
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
