"""What a Ray head's job server answers, without a head: jobs run when the test says so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeJobServer:
    """Listens on 127.0.0.1; `jobs` are what `/api/jobs/` shows, `packages` what was uploaded.

    `answer` (a status) is given to every request instead, where it is set.
    """

    def __init__(self, token: str):
        self.token = token
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.packages: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.answer = 0
        #: Called when a log is asked for first: a job is followed.
        self.when_followed: Callable[[], None] = lambda: None
        #: Jobs that the next so many lists leave out: somebody submits them at that moment.
        self.unlisted = 0
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        assert self._up.wait(30)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, number: int, *, out: str = "/shared", entrypoint: str = "", **job: Any) -> str:
        """A job that somebody has submitted before."""
        name = f"orch-s-{number}"
        self._begin(
            {
                "submission_id": name,
                "entrypoint": entrypoint,
                "metadata": {"sweep": "s", "out": out},
                "runtime_env": {},
                **job,
            }
        )
        return name

    def print(self, name: str, text: str) -> None:
        self.logs[name] += text

    def end(self, name: str, status: str, code: int | None = None, message: str = "") -> None:
        self.jobs[name] |= {
            "status": status, "driver_exit_code": code, "message": message, "end_time": 2000,
        }  # fmt: skip

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._guard], client_max_size=2**27)  # type: ignore[list-item]
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{id}", self._job),
                web.get("/api/jobs/{id}/logs", self._log),
                web.post("/api/jobs/{id}/stop", self._stop),
                web.get("/api/packages/{protocol}/{name}", self._package),
                web.put("/api/packages/{protocol}/{name}", self._upload),
            ]
        )
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._up.set()
        self._loop.run_forever()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.answer:
            return web.Response(status=self.answer, text="<html>not now</html>")
        given = request.headers.get("Authorization", "")
        if not given:
            return web.Response(status=401, text="Unauthorized: Missing authentication token")
        if given != f"Bearer {self.token}":
            return web.Response(status=403, text="Forbidden: Invalid authentication token")
        return await handler(request)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": ""})

    async def _list(self, request: web.Request) -> web.Response:
        shown = list(self.jobs.values())
        if self.unlisted:
            shown, self.unlisted = shown[: -self.unlisted], 0
        return web.json_response(shown)

    async def _submit(self, request: web.Request) -> web.Response:
        job = await request.json()
        if job["submission_id"] in self.jobs:
            text = f"Traceback\nValueError: Job with submission_id {job['submission_id']} "
            text += "already exists"
            return web.Response(status=500, text=text)
        self._begin(job)
        return web.json_response({"submission_id": job["submission_id"], "job_id": None})

    def _begin(self, job: dict[str, Any]) -> None:
        name = job["submission_id"]
        fixed = {"type": "SUBMISSION", "message": "", "start_time": 1000, "status": "RUNNING"}
        self.jobs[name] = {**fixed, **job}
        self.logs[name] = ""

    async def _job(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        return web.json_response(self.jobs[name])

    async def _log(self, request: web.Request) -> web.Response:
        act, self.when_followed = self.when_followed, lambda: None
        act()
        return web.json_response({"logs": self.logs[request.match_info["id"]]})

    async def _stop(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self.print(name, "stopping: 1 trial may commit its epoch\n")
        self._loop.call_later(0.3, self.end, name, "STOPPED")
        return web.json_response({"stopped": True})

    async def _package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()


def soon(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
