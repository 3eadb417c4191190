"""SaslHandshake (key 17): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, array, field, int16, string


class SaslHandshakeRequest(Message, api_key=17, versions="0-1"):
    mechanism: str = field(string)


class SaslHandshakeResponse(Message, api_key=17, versions="0-1"):
    error_code: int = field(int16)
    mechanisms: list[str] = field(array(string))
