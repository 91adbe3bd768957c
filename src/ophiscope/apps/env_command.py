"""``ophiscope env serve``: episodes over HTTP, for a trainer in another environment or another language."""

import os
import socket
import sys

from ophiscope.errors import Interrupted, WrongInput
from ophiscope.net.address import is_loopback

__all__ = ["KEY", "serve_env"]

KEY = "OPHISCOPE_ENV_KEY"


def serve_env(host: str, port: int, *, preset: str, model: str | None, episodes: int) -> None:
    """Serve until interrupted.

    Args:
        host: Beyond loopback only with a token in :data:`KEY`.
        port: 0 takes a free one; where it listens is said on stderr.
        preset: Whose reward.
        model: Name of the model that will answer, by which views and coordinates are chosen; None for nano.
        episodes: Most of them that are open at a time.

    Raises:
        WrongInput: If the address cannot be had, there is no such preset, or what it needs is not installed.
        Interrupted: On Ctrl-C.
    """
    try:
        import uvicorn

        from ophiscope.apps.env_server import EnvLimits, build_app
    except ImportError:
        raise WrongInput("env serve needs starlette and uvicorn: pip install 'ophiscope[local,serve]'.") from None
    loopback, token = is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}"), os.environ.get(KEY)
    if not loopback and not token:
        raise WrongInput(f"Listening on {host} needs a token: set {KEY}, or listen on 127.0.0.1.")
    if episodes < 1:
        raise WrongInput(f"--episodes {episodes} must be 1 or more.")
    from ophiscope.env import list_names, make
    from ophiscope.models.address import ServerAddress, build_server_card

    card = None if model is None else build_server_card(ServerAddress("http://127.0.0.1", model))
    make(preset, card=card)  # a wrong preset is told before anything listens
    app = build_app(
        lambda: make(preset, card=card),
        list_names(),
        preset=preset,
        limits=EnvLimits(episodes=episodes),
        token=token,
        loopback=loopback,
    )
    with _listen(host, port) as listener:
        name, taken = listener.getsockname()[:2]
        sys.stderr.write(f"serving episodes on http://{f'[{name}]' if ':' in name else name}:{taken}\n")
        sys.stderr.flush()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5))
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            raise Interrupted("stopped serving; open episodes are gone") from None


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise WrongInput(f"Cannot listen on {host}, port {port}: {error}.") from None
