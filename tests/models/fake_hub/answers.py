"""HTTP answers before they are written to a connection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

from tests.models.fake_hub.repository import HubFile


@dataclass
class Answer:
    """Status, headers and body; `limit` cuts the body off."""

    status: int
    headers: dict[str, str]
    body: HubFile
    limit: int | None = None

    @property
    def size(self) -> int:
        return self.body.size if self.limit is None else min(self.limit, self.body.size)


def json_answer(value: object, **headers: str) -> Answer:
    content_type = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(200, {**content_type, **headers}, HubFile(json.dumps(value).encode()))


def error_answer(status: int, message: str, code: str = "", **headers: str) -> Answer:
    # A message may quote a part of the request, which may contain characters that a header must not.
    answer = json_answer({"error": message}, **{"X-Error-Message": quote(message, safe=" /:,.'()-"), **headers})
    answer.status = status
    if code:
        answer.headers["X-Error-Code"] = code
    return answer


def file_answer(name: str, file: HubFile, **headers: str) -> Answer:
    base_name = quote(name.rpartition("/")[2])
    file_headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{base_name}; filename=\"{base_name}\";",
        "Accept-Ranges": "bytes",
        "ETag": file.etag,
    }
    return Answer(200, {**file_headers, **headers}, file)
