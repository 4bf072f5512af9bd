"""botocore, and with it boto3, aiobotocore and s3fs: the service's answer is a status and an error code."""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature

_ANSWERS: Final = frozenset({"ClientError"})

WRONG_KEY: Final = frozenset(
    {
        *("AuthFailure", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId"),
        *("InvalidSignatureException", "MissingAuthenticationToken", "SignatureDoesNotMatch"),
        "UnrecognizedClientException",
    }
)
"""What AWS's services call a key that they do not know, or that signed something else."""


def _code(exc: Any) -> object:
    response = getattr(exc, "response", None)
    if not isinstance(response, dict):
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if status in (401, 503) else response.get("Error", {}).get("Code")


SIGNATURE: Final = Signature(
    package="botocore",
    code=_code,
    carriers=("kwargs",),  # the fields of its message, the inner error among them
    rules=(
        Rule(kind="not_ready", classes=_ANSWERS, codes=frozenset({503})),
        Rule(kind="hopeless", classes=_ANSWERS, codes=WRONG_KEY | {401}),
        Rule(kind="hopeless", classes=frozenset({"NoCredentialsError", "PartialCredentialsError"})),
    ),
)
