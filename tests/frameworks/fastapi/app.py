# A FastAPI application like any other: nothing here knows srvwrap.
import asyncio
import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI(default_response_class=PlainTextResponse)
BODY = f"{os.getpid()} {os.environ['SRVWRAP_SLOT']} {os.environ['SRVWRAP_GENERATION']}\n"


@app.get("/")
async def index():
    return BODY


@app.get("/slow")
async def slow():
    await asyncio.sleep(0.3)
    return BODY
