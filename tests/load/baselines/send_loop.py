"""Baseline: a FastAPI WebSocket endpoint that sends each publication with ``send_text`` in a loop over its sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from redis.asyncio import Redis

__all__ = ["app"]

sockets: set[WebSocket] = set()


async def fan_out() -> None:
    redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe("send-loop")
        async for message in pubsub.listen():
            if message["type"] == "message":
                text = message["data"].decode()
                for socket in list(sockets):
                    await socket.send_text(text)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(fan_out())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws")
async def watch(socket: WebSocket) -> None:
    await socket.accept()
    sockets.add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        sockets.discard(socket)
