"""Joining a Ray cluster that somebody else has started.

Ray itself tries for minutes, ignores signals meanwhile, and has one message for every cause. So the
cluster is asked first: whether anything answers, whether it is Ray, whether it wants a token, and
whether this machine is one of its nodes.
"""

from __future__ import annotations

import logging
import os
import socket
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
import ray
from ray._common.tls_utils import load_certs_from_env
from ray._private import services
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc, ray_client_pb2, ray_client_pb2_grpc

from hmdc_ray.actors.token import known_token, send_token, token_mode, token_place
from hmdc_ray.errors import InputError
from hmdc_ray.system.deadline import within

_services: Any = services  # without type stubs, like the messages below
_gcs: Any = gcs_service_pb2
_client: Any = ray_client_pb2

ADDRESS_VARIABLE = "RAY_ADDRESS"
ANSWER_SECONDS = 10.0
"""How long to wait for each answer."""

AGAIN_SECONDS = 0.5
"""Pause before a cluster without a node on this machine is asked again."""

_CLIENT = "ray://"
_CLIENT_PORT = 10001
_FORMS = f"must be HOST:PORT of a running head, {_CLIENT}HOST:PORT of its client server, auto, or local"
_REMEDY = "start a head there with 'ray start --head', or leave the address out and a Ray is started on this machine"


@dataclass(frozen=True)
class ClusterAddress:
    """Address of a cluster to join.

    Attributes:
        given: address as the user wrote it: ``HOST:PORT``, ``[IPV6]:PORT``, ``ray://HOST[:PORT]``,
            ``auto`` or ``local``.
        source: option or variable that gave it, for messages: ``--address`` or ``RAY_ADDRESS``.
    """

    given: str
    source: str

    @classmethod
    def chosen(cls, address: str | None) -> ClusterAddress:
        """``address``, else RAY_ADDRESS, which also replaces ``auto``, else ``local``."""
        named = os.environ.get(ADDRESS_VARIABLE)
        if named and address in (None, "", "auto"):
            return cls(named, ADDRESS_VARIABLE)
        return cls(address or "local", "--address")

    def join(self, check: Callable[[], None]) -> None:
        """Connect this process to the cluster.

        Args:
            check: called several times a second while waiting; may raise to stop.

        Raises:
            InputError: the text is no address, nothing answers there, what answers is not Ray, the
                token is wrong or unwanted, or this machine is not one of the cluster's.
        """
        target = self._resolved(check)
        self._require_listener(target, check)
        self._agree_on_token(target, check)
        try:
            ray.init(address=target.text, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
            raise self._refusal(
                target, f"a Ray cluster answers, but does not let this process join ({_cause(error)})"
            ) from error

    def _resolved(self, check: Callable[[], None]) -> _Target:
        """The host and port that Ray will use: it resolves ``auto`` itself, and replaces loopback
        by another address of this machine."""
        if self.given.startswith(_CLIENT):
            return self._parsed(self.given.removeprefix(_CLIENT), _CLIENT)
        if self.given != "auto":
            self._parsed(self.given)
        _services.find_gcs_addresses.cache_clear()
        try:
            found = within(ANSWER_SECONDS, lambda: _services.canonicalize_bootstrap_address(self.given), check)
        except (ConnectionError, TimeoutError) as error:
            raise InputError(
                f"{self.source} is {self.given!r}, but no Ray runs on this machine: start one with 'ray start --head', or "
                "leave the address out"
            ) from error
        assert found is not None, "only 'local' has no address"
        return self._parsed(found)

    def _parsed(self, text: str, scheme: str = "") -> _Target:
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port or (_CLIENT_PORT if scheme else None)
        except ValueError:
            host, port = None, None
        if not host or not port or parts.netloc != text or "@" in text:
            raise InputError(f"{self.source} is {self.given!r}: {_FORMS}")
        return _Target(scheme, host, port)

    def _require_listener(self, target: _Target, check: Callable[[], None]) -> None:
        def connect() -> None:
            socket.create_connection((target.host, target.port), timeout=ANSWER_SECONDS).close()

        try:
            within(ANSWER_SECONDS, connect, check)
        except (OSError, UnicodeError) as error:  # some host names cannot be encoded
            reason = getattr(error, "strerror", None) or str(error)
            raise self._refusal(target, f"nobody answers there ({reason}): {_REMEDY}") from error

    def _agree_on_token(self, target: _Target, check: Callable[[], None]) -> None:
        """Send the token only to a cluster that wants it; elsewhere this process would then refuse
        the cluster's calls."""
        asked = token_mode()
        if self._is_let_in(target, None, check):
            if asked == "token":
                raise self._refusal(
                    target,
                    "the cluster there uses no tokens, but RAY_AUTH_MODE is 'token': unset it, or start the cluster with it",
                )
            return
        wants = "a Ray cluster answers, but"
        if asked not in (None, "token"):
            raise self._refusal(
                target, f"{wants} wants its authentication token, and RAY_AUTH_MODE is {asked!r} here: unset it, or set 'token'"
            )
        token = known_token()
        copy = "put the head's there (its ~/.ray/auth_token), or name a file with it in RAY_AUTH_TOKEN_PATH"
        if not token:
            raise self._refusal(target, f"{wants} wants its authentication token, and {token_place()} holds none: {copy}")
        if not self._is_let_in(target, token, check):
            raise self._refusal(target, f"{wants} refuses the authentication token in {token_place()}: {copy}")
        send_token()

    def _is_let_in(self, target: _Target, token: str | None, check: Callable[[], None]) -> bool:
        """Whether the cluster accepts the token, or a call without one.

        Raises:
            InputError: what answers is not Ray, or this machine is not one of its nodes.
        """
        deadline = monotonic() + ANSWER_SECONDS
        while True:
            try:
                is_member = within(2 * ANSWER_SECONDS, lambda: target.has_this_machine(token), check)
            except (grpc.RpcError, TimeoutError) as error:
                code = error.code() if isinstance(error, grpc.Call) else None
                if code == grpc.StatusCode.UNAUTHENTICATED:
                    return False
                what = f"what answers there is no Ray {'client server' if target.scheme else 'head'}"
                raise self._refusal(target, f"{what} ({code.name if code else 'no answer'}): {_FORMS}") from error
            if is_member:
                return True
            if monotonic() > deadline:
                break
            sleep(AGAIN_SECONDS)  # the node's processes may be about to start
        raise self._refusal(
            target,
            "a Ray cluster answers, but this machine is none of its nodes: add it with "
            f"'ray start --address={target.text}', or give {_CLIENT}HOST:{_CLIENT_PORT}, the head's client server",
        )

    def _refusal(self, target: _Target, what: str) -> InputError:
        also = "" if target.text == self.given else f" (to Ray {target.text})"
        return InputError(f"{self.source} is {self.given!r}{also}: {what}")


@dataclass(frozen=True)
class _Target:
    """Host and port of a head, or of its client server (scheme ``ray://``)."""

    scheme: str
    host: str
    port: int

    @property
    def text(self) -> str:
        """The address as ``ray.init`` takes it."""
        return f"{self.scheme}{self._place}"

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def has_this_machine(self, token: str | None) -> bool:
        """Whether one of the nodes that are alive runs on this machine; always True for a client
        server, which needs none.

        Raises:
            grpc.RpcError: there was no answer, or a refusal.
        """
        metadata = [("authorization", f"Bearer {token}")] if token else []
        limits: dict[str, Any] = {"timeout": ANSWER_SECONDS, "metadata": metadata}
        with _channel(self._place) as channel:
            if self.scheme:
                ping = _client.ClusterInfoRequest(type=_client.ClusterInfoType.PING)
                ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(ping, **limits)
                return True
            alive = _gcs.GetAllNodeInfoRequest(state_filter="ALIVE")
            reply = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).GetAllNodeInfo(alive, **limits)
        return not {node.node_id.hex() for node in reply.node_info_list}.isdisjoint(_services.find_node_ids())


def _channel(place: str) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0)]  # as Ray's own calls do
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(place, options)
    chain, key, authority = load_certs_from_env()
    return grpc.secure_channel(place, grpc.ssl_channel_credentials(authority, key, chain), options)


def _cause(error: BaseException) -> str:
    """The original error of a chain, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return textwrap.shorten(" ".join(str(error).split()) or repr(error), 200)
