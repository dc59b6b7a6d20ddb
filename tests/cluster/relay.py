"""Publish ports as a container engine does: `relay.py ADDRESS:PORT:HOST:PORT...`, until ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


async def _publish(address: str, port: str, host: str, inner: str) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(inner))
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    server = await asyncio.start_server(accept, address, int(port))
    await server.serve_forever()


async def _main() -> None:
    await asyncio.gather(*(_publish(*published.split(":")) for published in sys.argv[1:]))


asyncio.run(_main())
